"""openstacksdk, as programs use it."""
import os

import openstack
from openstack import exceptions

from cloud import Steps, body, digests


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
    return step.count
