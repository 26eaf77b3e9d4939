"""openstacksdk, as programs use it."""
import os

import openstack
from openstack import exceptions

from cloud import ELSEWHERE, Steps, Web, body, digests


def connect(cloud, user):
    who = cloud.facts['users'][user]
    return openstack.connect(
        auth_url=cloud.facts['url'], auth_type='password', username=user,
        password=cloud.facts['password'], project_id=who['project_id'],
        user_domain_id='default', region_name=cloud.facts['region'], load_yaml_config=False,
        load_envvars=False)


def run(cloud, scratch):
    step = Steps('sdk')
    member, stranger = connect(cloud, 'member').image, connect(cloud, 'stranger').image
    disk, back = os.path.join(scratch, 'disk.raw'), os.path.join(scratch, 'back.raw')
    md5, sha512 = body(disk, 'sdk', 9 << 20)

    image = member.create_image('first', filename=disk, disk_format='raw', container_format='bare',
                                wait=True, tags=['blue'], os_distro='debian')
    shown = member.get_image(image.id)
    step('create_image', shown.status == 'active', shown.size == 9 << 20, shown.checksum == md5,
         shown.hash_value == sha512, shown.owner_id == cloud.project('member'))
    step('find_image', member.find_image('first').id == image.id)
    step('images', image.id in [each.id for each in member.images(limit=2)])
    empty = member.create_image('empty', disk_format='raw', container_format='bare')
    step('images by status', [each.id for each in member.images(status='queued')] == [empty.id])
    with open(disk, 'rb') as file:
        empty.data = file
        empty.upload(member)
    step('upload', member.get_image(empty.id).checksum == md5)

    changed = member.update_image(image.id, name='second', min_disk=2, os_version='12')
    step('update_image', changed.name == 'second', changed.min_disk == 2,
         changed.os_version == '12')
    member.add_tag(image.id, 'red')
    member.remove_tag(image.id, 'blue')
    step('tags', member.get_image(image.id).tags == ['red'])

    theirs = cloud.project('stranger')
    member.update_image(image.id, visibility='shared')
    step.refused('a stranger finds nothing', lambda: stranger.get_image(image.id), '404')
    member.add_member(image.id, member_id=theirs)
    step('members', [each.status for each in member.members(image.id)] == ['pending'])
    stranger.update_member(theirs, image.id, status='accepted')
    step('update_member', member.get_member(theirs, image.id).status == 'accepted')
    with open(back, 'wb') as file:
        stranger.download_image(image.id, output=file)
    step('download_image by a member', digests(back) == (md5, sha512))
    member.remove_member(theirs, image.id)
    step('remove_member', list(member.members(image.id)) == [])

    part = member.get(f'/images/{image.id}/file', headers={'Range': 'bytes=100-199'})
    with open(disk, 'rb') as file:
        step('a range', part.status_code == 206, part.content == file.read(200)[100:])
    member.deactivate_image(image.id)
    step.refused('deactivate_image', lambda: member.download_image(image.id, output=back))
    member.reactivate_image(image.id)
    step('reactivate_image', member.get_image(image.id).status == 'active')
    step('stores', {'fast', 'slow'} <= {each.id for each in member.stores()})
    step('get_import_info', member.get_import_info().import_methods['type'] == 'array')
    step('tasks', isinstance(list(connect(cloud, 'admin').image.tasks()), list))

    member.delete_image(image.id)
    member.delete_image(empty.id)
    step('delete_image', member.find_image('second', ignore_missing=True) is None)
    try:
        member.get_image(image.id)
        step('get_image of what is gone', False)
    except exceptions.NotFoundException:
        step('get_image of what is gone')
    imports(cloud, scratch, step)
    return step.count


def imports(cloud, scratch, step):
    """Every way that data gets in by a task."""
    member, admin, web = connect(cloud, 'member').image, connect(cloud, 'admin').image, Web(scratch)
    disk, back = os.path.join(scratch, 'import.raw'), os.path.join(scratch, 'back.raw')
    md5, sha512 = body(disk, 'imported by sdk', (1 << 20) + 7)
    raw = {'disk_format': 'raw', 'container_format': 'bare'}

    def is_whole(image, stores):
        cloud.settled(image.id, status='active', stores=stores)
        shown = member.get_image(image.id)
        with open(back, 'wb') as file:
            member.download_image(image.id, output=file)
        return all((shown.status == 'active', shown.checksum == md5, shown.hash_value == sha512,
                    shown.properties['os_glance_failed_import'] == '',
                    digests(back) == (md5, sha512)))

    staged = member.create_image('staged', **raw)
    member.stage_image(staged, filename=disk)
    step('stage_image', member.get_image(staged.id).status == 'uploading')
    staged = member.get_image(staged.id)
    member.import_image(staged, stores=['fast', 'slow'])
    member.wait_for_status(staged, 'active', failures=['queued', 'error'], interval=1)
    step('import_image, glance-direct', is_whole(staged, 'fast,slow'))
    fetched = member.create_image('fetched', **raw)
    member.import_image(fetched, method='web-download', uri=web.url('import.raw'), stores=['slow'])
    step('import_image, web-download', is_whole(fetched, 'slow'))
    refused = member.import_image(fetched, method='copy-image', all_stores=True)
    step('import_image, copy-image, by who may not', refused.status_code == 403)
    admin.import_image(fetched, method='copy-image', all_stores=True, all_stores_must_succeed=True)
    step('import_image, copy-image', is_whole(fetched, 'slow,fast'))
    remote = member.create_image('remote', **raw)
    member.import_image(remote, method='glance-download', remote_region=ELSEWHERE,
                        remote_image_id=staged.id, remote_service_interface='public')
    step('import_image, glance-download', is_whole(remote, 'fast'))

    made = member.create_image('made', filename=disk, use_import=True, **raw)
    step('create_image with use_import', is_whole(made, 'fast'))
    everywhere = member.create_image('everywhere', filename=disk, all_stores=True, **raw)
    step('create_image with all_stores', is_whole(everywhere, 'fast,slow'))
    from_web = member.create_image('from the web', use_import=True, import_method='web-download',
                                   uri=web.url('import.raw'), stores=['slow'], **raw)
    step('create_image from the web', is_whole(from_web, 'slow'))

    tasks = list(admin.image_tasks(staged))
    step('image_tasks', [task.status for task in tasks] == ['success'],
         'Copied 1 MiB' in tasks[0].message)
    task = admin.get_task(tasks[0].id)
    step('get_task', task.type == 'api_image_import', task.status == 'success',
         task.input['image_id'] == staged.id, task.owner_id == cloud.project('member'))
    step('tasks', task.id in [each.id for each in admin.tasks()])
    queued = member.create_image('queued', **raw)
    # It leaves the answer to its caller.
    for refused, part in [(member.import_image(queued), 'staged'),
                          (member.import_image(staged), 'active'),
                          (admin.import_image(staged, method='copy-image', stores=['slow']),
                           'already present')]:
        step('import_image that is refused', refused.status_code in (400, 409), part in refused.text)
    for image in (staged, fetched, remote, made, everywhere, from_web, queued):
        member.delete_image(image.id)
