"""people.py URL: fills a new Keystone over its API, and prints who there is as JSON.

Projects: `ours` with the users admin, member and reader, named by their roles; `theirs` with the
user stranger (member); `service` with the user glance (service and admin) and the user nova (service
only). Everybody's password is `secret`. The catalog has an image service without endpoints: whoever
serves one enters it. Needs nothing but Python's own library.
"""
import json
import sys
import urllib.request

url = sys.argv[1].rstrip('/')
token = None


def call(method, path, body=None):
    request = urllib.request.Request(url + path, method=method)
    request.add_header('Content-Type', 'application/json')
    if token:
        request.add_header('X-Auth-Token', token)
    data = json.dumps(body).encode() if body is not None else None
    with urllib.request.urlopen(request, data, timeout=60) as answer:
        text = answer.read()
        return answer.headers, json.loads(text) if text else None


def made(kind, plural, **record):
    return call('POST', '/' + plural, {kind: record})[1][kind]['id']


default = {'id': 'default'}
headers, _ = call('POST', '/auth/tokens', {'auth': {
    'identity': {'methods': ['password'], 'password': {'user': {
        'name': 'admin', 'domain': default, 'password': 'secret'}}},
    'scope': {'project': {'name': 'admin', 'domain': default}}}})
token = headers['X-Subject-Token']

roles = {role['name']: role['id'] for role in call('GET', '/roles')[1]['roles']}
for role in ('admin', 'member', 'reader', 'service'):
    roles.setdefault(role, None)
    roles[role] = roles[role] or made('role', 'roles', name=role)

projects = {name: made('project', 'projects', name=name, domain_id='default')
            for name in ('ours', 'theirs', 'service')}
admin = call('GET', '/users?name=admin')[1]['users'][0]['id']
people = {'admin': ('ours', ['admin']), 'member': ('ours', ['member']),
          'reader': ('ours', ['reader']), 'stranger': ('theirs', ['member']),
          'glance': ('service', ['service', 'admin']), 'nova': ('service', ['service'])}
users = {}
for name, (project, granted) in people.items():
    user = admin if name == 'admin' else made(
        'user', 'users', name=name, domain_id='default', password='secret')
    for role in granted:
        call('PUT', f'/projects/{projects[project]}/users/{user}/roles/{roles[role]}')
    users[name] = {'id': user, 'project': project, 'project_id': projects[project]}

image = made('service', 'services', type='image', name='glance')
print(json.dumps({'url': url, 'region': 'RegionOne', 'password': 'secret', 'users': users,
                  'image_service_id': image}, indent=2))
