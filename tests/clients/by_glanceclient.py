"""python-glanceclient: the program `glance`, which sends bodies of unknown length in chunks."""
import os

from cloud import Shell, Steps, body, digests


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
    return step.count


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
