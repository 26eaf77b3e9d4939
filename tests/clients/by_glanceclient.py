"""python-glanceclient: the program `glance`, which sends bodies of unknown length in chunks."""
import os

from cloud import ELSEWHERE, Shell, Steps, Web, body, digests


def run(cloud, scratch):
    step = Steps('glance')
    member, stranger = Shell(cloud, 'member'), Shell(cloud, 'stranger')
    disk, back = os.path.join(scratch, 'disk.raw'), os.path.join(scratch, 'back.raw')
    md5, sha512 = body(disk, 'glance', 3 << 20)

    made = member.table('image-create', '--name', 'first', '--disk-format', 'raw',
                        '--container-format', 'bare', '--file', disk, '--progress',
                        '--property', 'os_distro=debian', '--tag', 'blue')
    image = made['id']
    step('image-create, with upload and progress', made['status'] == 'active',
         made['checksum'] == md5, made['size'] == str(3 << 20),
         # The table breaks long values.
         len(made['os_hash_value']) > 64, sha512.startswith(made['os_hash_value']))
    shown = member.table('image-show', image)
    step('image-show', shown['os_distro'] == 'debian', shown['owner'] == cloud.project('member'))
    step('image-list', image in member.glance('image-list', '--property-filter', 'name=first'))
    step('image-list by tag', image in member.glance('image-list', '--tag', 'blue'))

    changed = member.table('image-update', image, '--name', 'second', '--property',
                           'os_version=12', '--remove-property', 'os_distro')
    step('image-update', changed['name'] == 'second', changed['os_version'] == '12',
         'os_distro' not in changed)
    member.glance('image-tag-update', image, 'red')
    step('image-tag-update', "red" in member.table('image-show', image)['tags'])
    member.glance('image-tag-delete', image, 'blue')
    step('image-tag-delete', 'blue' not in member.table('image-show', image)['tags'])

    queued = member.table('image-create', '--name', 'later', '--disk-format', 'raw',
                          '--container-format', 'bare')['id']
    with open(disk, 'rb') as file:
        member.glance('image-upload', queued, '--progress', stdin=Piped(file))
    shown = member.table('image-show', queued)
    step('image-upload from a pipe, in chunks', shown['status'] == 'active',
         shown['checksum'] == md5)
    member.glance('image-create', '--name', 'elsewhere', '--disk-format', 'raw',
                  '--container-format', 'bare', '--file', disk, '--store', 'slow')
    named = member.glance('image-list', '--property-filter', 'name=elsewhere')
    elsewhere = [line for line in named.splitlines() if 'elsewhere' in line][0].split('|')[1]
    step('image-create in another store',
         member.table('image-show', elsewhere.strip())['stores'] == 'slow')

    theirs = cloud.project('stranger')
    member.glance('member-create', image, theirs)
    step('member-create', theirs in member.glance('member-list', '--image-id', image))
    stranger.glance('member-update', image, theirs, 'accepted')
    step('member-update', 'accepted' in stranger.glance('member-get', image, theirs))
    stranger.glance('image-download', image, '--file', back)
    step('image-download by a member', digests(back) == (md5, sha512))
    member.glance('member-delete', image, theirs)
    step.refused('member-delete', lambda: stranger.glance('image-show', image), '404')

    member.glance('image-download', image, '--file', back, '--progress')
    step('image-download', digests(back) == (md5, sha512))
    member.glance('image-deactivate', image)
    step.refused('image-deactivate',
                 lambda: member.glance('image-download', image, '--file', back), '403')
    member.glance('image-reactivate', image)
    step('image-reactivate', member.table('image-show', image)['status'] == 'active')

    step('stores-info', 'fast' in member.glance('stores-info'))
    step('stores-info --detail', 'file' in Shell(cloud, 'admin').glance('stores-info', '--detail'))
    step.refused('stores-info --detail for others',
                 lambda: member.glance('stores-info', '--detail'), '403')
    step('import-info', 'import-methods' in member.glance('import-info'))
    step('usage', '|' in member.glance('usage'))
    step('task-list', '|' in Shell(cloud, 'admin').glance('task-list'))
    step('explain', 'min_ram' in member.glance('explain', 'image'))

    member.glance('image-delete', image, queued, elsewhere.strip())
    step.refused('image-delete', lambda: member.glance('image-show', image), '404')
    imports(cloud, scratch, step)
    return step.count


def imports(cloud, scratch, step):
    """Every way that data gets in by a task."""
    member, admin, web = Shell(cloud, 'member'), Shell(cloud, 'admin'), Web(scratch)
    disk, back = os.path.join(scratch, 'import.raw'), os.path.join(scratch, 'back.raw')
    md5, sha512 = body(disk, 'imported by glance', (1 << 20) + 3)
    raw = ('--disk-format', 'raw', '--container-format', 'bare')

    def is_whole(image, stores):
        cloud.settled(image, status='active', stores=stores)
        shown = member.table('image-show', image)
        if os.path.exists(back):
            os.remove(back)
        member.glance('image-download', image, '--file', back)
        return all((shown['checksum'] == md5, sha512.startswith(shown['os_hash_value']),
                    len(shown['os_hash_value']) > 64, shown['size'] == str((1 << 20) + 3),
                    shown['stores'] == stores, shown['os_glance_failed_import'] == '', digests(back) == (md5, sha512)))

    # Long values go on in the next row.
    methods = ''.join(member.glance('import-info').replace('|', ' ').split())
    step('import-info names every method',
         *[method in methods for method in
           ('glance-direct', 'web-download', 'copy-image', 'glance-download')])
    direct = member.table('image-create-via-import', '--name', 'direct', *raw, '--file', disk,
                          '--progress', '--property', 'os_distro=debian',
                          '--stores', 'fast,slow')['id']
    step('image-create-via-import, glance-direct', is_whole(direct, 'fast,slow'),
         member.table('image-show', direct)['os_distro'] == 'debian')
    with open(disk, 'rb') as file:
        piped = member.table('image-create-via-import', '--name', 'piped', *raw,
                             stdin=Piped(file))['id']
    step('image-create-via-import from a pipe, in chunks', is_whole(piped, 'fast'))
    fetched = member.table('image-create-via-import', '--name', 'fetched', *raw,
                           '--import-method', 'web-download', '--uri', web.url('import.raw'),
                           '--store', 'slow')['id']
    step('image-create-via-import, web-download', is_whole(fetched, 'slow'))

    staged = member.table('image-create', '--name', 'staged', *raw)['id']
    member.glance('image-stage', staged, '--file', disk, '--progress')
    step('image-stage', member.table('image-show', staged)['status'] == 'uploading')
    step.refused('image-import of staged data by another method',
                 lambda: member.glance('image-import', staged, '--import-method', 'copy-image',
                                       '--all-stores', 'true'), 'active')
    member.glance('image-import', staged, '--all-stores', 'true', '--allow-failure', 'false')
    step('image-import, glance-direct', is_whole(staged, 'fast,slow'))
    step.refused('image-import, copy-image, by who may not',
                 lambda: member.glance('image-import', piped, '--import-method', 'copy-image',
                                       '--all-stores', 'true'), '403')
    admin.glance('image-import', piped, '--import-method', 'copy-image', '--all-stores', 'true')
    step('image-import, copy-image --all-stores', is_whole(piped, 'fast,slow'))
    admin.glance('image-import', fetched, '--import-method', 'copy-image', '--stores', 'fast')
    step('image-import, copy-image --stores', is_whole(fetched, 'slow,fast'))
    admin.glance('stores-delete', '--store', 'fast', piped)
    step('stores-delete; the copy is whole', is_whole(piped, 'slow'))
    remote = member.table('image-create-via-import', '--name', 'remote', *raw,
                          '--import-method', 'glance-download', '--remote-region', ELSEWHERE,
                          '--remote-image-id', direct)['id']
    step('image-create-via-import, glance-download', is_whole(remote, 'fast'))

    step.refused('what is imported from may not be anywhere',
                 lambda: member.glance('image-create-via-import', '--name', 'refused', *raw,
                                       '--import-method', 'web-download',
                                       '--uri', 'http://169.254.169.254/latest'), 'filtering')
    missing = member.table('image-create-via-import', '--name', 'missing', *raw,
                           '--import-method', 'web-download', '--uri', web.url('nothing'),
                           '--stores', 'fast,slow')['id']
    cloud.settled(missing, status='queued', os_glance_failed_import='fast,slow')
    step('an import that fails: the image waits',
         member.table('image-show', missing)['size'] == 'None')
    tasks = admin.rows('--verbose', 'image-tasks', missing)
    step('image-tasks says why', [task['Status'] for task in tasks] == ['failure'],
         '404' in tasks[0]['Message'], tasks[0]['Image Id'] == missing)
    member.glance('image-import', missing, '--import-method', 'web-download',
                  '--uri', web.url('import.raw'), '--stores', 'fast,slow')
    step('and works when it is asked for again', is_whole(missing, 'fast,slow'))
    tasks = admin.rows('--verbose', 'image-tasks', missing)
    step('image-tasks has both', sorted(task['Status'] for task in tasks) == ['failure', 'success'])
    done = [task for task in tasks if task['Status'] == 'success'][0]
    step('task-list', done['Task Id'] in admin.glance('task-list', '--status', 'success'))
    shown = admin.table('task-show', done['Task Id'])
    step('task-show', shown['status'] == 'success', shown['type'] == 'api_image_import',
         shown['owner'] == cloud.project('member'))
    refused = member.rows('image-list', '--property-filter', 'name=refused')
    step('what was refused waits', len(refused) == 1)
    member.glance('image-delete', refused[0]['ID'], direct, piped, fetched, staged, remote, missing)


class Piped:
    """Standard input that is no terminal and can't be rewound, so that its size is not known."""

    def __init__(self, file):
        self.buffer = self
        self.read = file.read
        self.closed = False

    def isatty(self):
        return False

    def fileno(self):
        raise OSError('a pipe in memory')

    def close(self):
        pass
