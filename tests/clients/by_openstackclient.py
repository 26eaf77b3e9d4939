"""python-openstackclient: the life of an image as its users type it."""
import os

from cloud import ELSEWHERE, Shell, Steps, Web, body, digests


def run(cloud, scratch):
    step = Steps('openstack')
    member, stranger = Shell(cloud, 'member'), Shell(cloud, 'stranger')
    disk, back = os.path.join(scratch, 'disk.raw'), os.path.join(scratch, 'back.raw')
    md5, sha512 = body(disk, 'openstack', 5 << 20)

    made = member.json('image', 'create', 'first', '--file', disk, '--progress',
                       '--disk-format', 'raw', '--container-format', 'bare',
                       '--min-ram', '64', '--property', 'os_distro=debian', '--tag', 'blue')
    image = made['id']
    step('create, with upload and progress', made['name'] == 'first')
    shown = member.json('image', 'show', image)
    step('show: data, digests, owner', shown['status'] == 'active', shown['size'] == 5 << 20,
         shown['checksum'] == md5, shown['properties']['os_hash_value'] == sha512,
         shown['owner'] == cloud.project('member'), shown['tags'] == ['blue'],
         shown['min_ram'] == 64, shown['properties']['os_distro'] == 'debian')
    step('show by name', member.json('image', 'show', 'first')['id'] == image)

    listed = member.json('image', 'list')
    step('list', [row['Name'] for row in listed if row['ID'] == image] == ['first'])
    found = member.json('image', 'list', '--long', '--name', 'first', '--tag', 'blue',
                        '--property', 'os_distro=debian', '--status', 'active')
    step('list by name, tag, property, status', [row['ID'] for row in found] == [image])
    step('list sorted, limited', len(member.json('image', 'list', '--sort', 'name:desc',
                                                 '--limit', '1')) == 1)

    member.openstack('image', 'set', image, '--name', 'second', '--min-disk', '1', '--tag', 'red',
                     '--property', 'os_version=12', '--property', 'os_distro=ubuntu', '--shared')
    shown = member.json('image', 'show', image)
    step('set: name, tag, properties, visibility', shown['name'] == 'second',
         sorted(shown['tags']) == ['blue', 'red'], shown['min_disk'] == 1,
         shown['properties']['os_version'] == '12', shown['properties']['os_distro'] == 'ubuntu',
         shown['visibility'] == 'shared')
    member.openstack('image', 'unset', image, '--tag', 'blue', '--property', 'os_version')
    shown = member.json('image', 'show', image)
    step('unset: tag, property', shown['tags'] == ['red'],
         'os_version' not in shown['properties'])
    member.openstack('image', 'set', image, '--protected')
    step.refused('delete of a protected image',
                 lambda: member.openstack('image', 'delete', image), '403')
    member.openstack('image', 'set', image, '--unprotected')

    theirs = cloud.project('stranger')
    step.refused('a stranger finds nothing', lambda: stranger.openstack('image', 'show', image),
                 image)
    added = member.json('image', 'add', 'project', image, theirs)
    step('add project', added['status'] == 'pending', added['member_id'] == theirs)
    step('a member sees it', stranger.json('image', 'show', image)['id'] == image)
    listed = stranger.json('image', 'list', '--shared')
    step('which is not listed yet', image not in [row['ID'] for row in listed])
    stranger.openstack('image', 'set', image, '--accept')
    members = member.json('image', 'member', 'list', image)
    step('accept; member list', [row['Status'] for row in members] == ['accepted'])
    listed = stranger.json('image', 'list', '--shared')
    step('and is listed now', image in [row['ID'] for row in listed])
    stranger.openstack('image', 'save', image, '--file', back)
    step('a member saves it', digests(back) == (md5, sha512))
    os.remove(back)
    member.openstack('image', 'remove', 'project', image, theirs)
    step.refused('remove project', lambda: stranger.openstack('image', 'show', image), image)

    member.openstack('image', 'save', image, '--file', back)
    step('save', digests(back) == (md5, sha512))
    os.remove(back)
    member.openstack('image', 'set', image, '--deactivate')
    step('deactivate', member.json('image', 'show', image)['status'] == 'deactivated')
    # It takes the refusal for the image, and finds that the digest is wrong.
    step.refused('save of a deactivated image',
                 lambda: member.openstack('image', 'save', image, '--file', back))
    member.openstack('image', 'set', image, '--activate')
    step('activate', member.json('image', 'show', image)['status'] == 'active')

    stores = member.openstack('image', 'stores', 'list')
    step('stores', 'fast' in stores, 'slow' in stores)
    step('import info', 'glance-direct' in member.openstack('image', 'import', 'info'))
    step('tasks', isinstance(Shell(cloud, 'admin').json('image', 'task', 'list'), list))

    member.openstack('image', 'delete', image)
    step.refused('delete', lambda: member.openstack('image', 'show', image), image)
    imports(cloud, scratch, step)
    return step.count


def imports(cloud, scratch, step):
    """Every way that data gets in by a task."""
    member, admin, web = Shell(cloud, 'member'), Shell(cloud, 'admin'), Web(scratch)
    disk, back = os.path.join(scratch, 'import.raw'), os.path.join(scratch, 'back.raw')
    md5, sha512 = body(disk, 'imported by openstack', (1 << 20) + 1)

    def queued(name):
        return member.json('image', 'create', name, '--disk-format', 'raw',
                           '--container-format', 'bare')['id']

    def is_whole(image, stores):
        cloud.settled(image, status='active', stores=stores)
        shown = member.json('image', 'show', image)
        member.openstack('image', 'save', image, '--file', back)
        same = digests(back) == (md5, sha512)
        os.remove(back)
        return all((same, shown['status'] == 'active', shown['checksum'] == md5,
                    shown['properties']['os_hash_value'] == sha512,
                    shown['properties']['os_glance_failed_import'] == ''))

    made = member.json('image', 'create', 'direct', '--import', '--file', disk,
                       '--disk-format', 'raw', '--container-format', 'bare')['id']
    step('create --import', is_whole(made, 'fast'))
    staged = queued('staged')
    member.openstack('image', 'stage', staged, '--file', disk, '--progress')
    step('stage', member.json('image', 'show', staged)['status'] == 'uploading')
    member.openstack('image', 'import', staged, '--store', 'fast', 'slow')
    step('import, glance-direct', is_whole(staged, 'fast,slow'))
    fetched = queued('fetched')
    member.openstack('image', 'import', fetched, '--method', 'web-download',
                     '--uri', web.url('import.raw'), '--all-stores', '--disallow-failure')
    step('import, web-download', is_whole(fetched, 'fast,slow'))
    # By default only administrators may.
    admin.openstack('image', 'import', made, '--method', 'copy-image', '--all-stores')
    step('import, copy-image', is_whole(made, 'fast,slow'))
    remote = queued('remote')
    member.openstack('image', 'import', remote, '--method', 'glance-download',
                     '--remote-region', ELSEWHERE, '--remote-image', made,
                     '--remote-service-interface', 'internal')
    step('import, glance-download', is_whole(remote, 'fast'))
    step.refused('import of an image that nothing is staged for',
                 lambda: member.openstack('image', 'import', queued('empty')), 'uploading')

    listed = admin.json('image', 'task', 'list', '--type', 'import', '--status', 'success')
    step('task list', isinstance(listed, list))
    mine = [row['ID'] for row in admin.json('image', 'task', 'list')
            if row['Type'] == 'api_image_import' and row['Owner'] == cloud.project('member')]
    shown = [admin.json('image', 'task', 'show', task) for task in mine]
    about = {row['input']['image_id']: row for row in shown}
    step('task show', {made, staged, fetched, remote} <= set(about),
         *[about[image]['status'] == 'success' for image in (made, staged, fetched, remote)])
    step('stores list --detail',
         'data_dir' in admin.openstack('image', 'stores', 'list', '--detail'))
    member.openstack('image', 'delete', made, staged, fetched, remote, 'empty')
