"""What the suite shares: who there is, the programs as functions, and steps that are counted."""
import contextlib
import functools
import hashlib
import http.server
import io
import json
import os
import sys
import threading
import time
import urllib.request

import glanceclient.shell
import openstackclient.common.clientmanager
import openstackclient.shell
from osc_lib import clientmanager


#: Another name of the region that the image service is in, for whoever imports from elsewhere.
ELSEWHERE = 'Elsewhere'


class Cloud:
    """A Keystone (tests/env/keystone) whose catalog names one image service, ours, in two
    regions."""

    def __init__(self, path, image_url):
        with open(path) as file:
            self.facts = json.load(file)
        self.image_url = image_url

    def environment(self, user):
        """OS_* for a user, as an RC file sets them."""
        who = self.facts['users'][user]
        return {
            'OS_AUTH_URL': self.facts['url'],
            'OS_AUTH_TYPE': 'password',
            'OS_IDENTITY_API_VERSION': '3',
            'OS_IMAGE_API_VERSION': '2',
            'OS_USERNAME': user,
            'OS_PASSWORD': self.facts['password'],
            'OS_PROJECT_ID': who['project_id'],
            'OS_USER_DOMAIN_ID': 'default',
            'OS_REGION_NAME': self.facts['region'],
        }

    def project(self, user):
        return self.facts['users'][user]['project_id']

    def enter(self):
        """Enters our address into the catalog, in place of any other."""
        endpoints = self._call('GET', '/endpoints?service_id=' + self.facts['image_service_id'])
        for endpoint in endpoints['endpoints']:
            self._call('DELETE', '/endpoints/' + endpoint['id'])
        regions = self._call('GET', '/regions')['regions']
        if ELSEWHERE not in [region['id'] for region in regions]:
            self._call('POST', '/regions', {'region': {'id': ELSEWHERE}})
        for region in (self.facts['region'], ELSEWHERE):
            for interface in ('public', 'internal', 'admin'):
                self._call('POST', '/endpoints', {'endpoint': {
                    'interface': interface, 'url': self.image_url,
                    'service_id': self.facts['image_service_id'], 'region_id': region}})

    def settled(self, image, **fields):
        """Waits until an image is so and no store of its is to come any more."""
        def is_so():
            request = urllib.request.Request(f'{self.image_url}/v2/images/{image}')
            request.add_header('X-Auth-Token', self.token)
            with urllib.request.urlopen(request, timeout=60) as answer:
                shown = json.loads(answer.read())
            wanted = {'os_glance_importing_to_stores': '', **fields}
            return all(shown.get(key) == value for key, value in wanted.items())
        until(f'{image} has {fields}', is_so)

    @functools.cached_property
    def token(self):
        return self._token()

    def _call(self, method, path, body=None):
        request = urllib.request.Request(self.facts['url'] + path, method=method)
        request.add_header('Content-Type', 'application/json')
        request.add_header('X-Auth-Token', self.token)
        data = json.dumps(body).encode() if body is not None else None
        with urllib.request.urlopen(request, data, timeout=60) as answer:
            text = answer.read()
            return json.loads(text) if text else None

    def _token(self):
        who = self.facts['users']['admin']
        body = {'auth': {
            'identity': {'methods': ['password'], 'password': {'user': {
                'id': who['id'], 'password': self.facts['password']}}},
            'scope': {'project': {'id': who['project_id']}}}}
        request = urllib.request.Request(self.facts['url'] + '/auth/tokens', method='POST')
        request.add_header('Content-Type', 'application/json')
        with urllib.request.urlopen(request, json.dumps(body).encode(), timeout=60) as answer:
            return answer.headers['X-Subject-Token']


class Terminal(io.StringIO):
    """Standard input where nobody types: no image comes from there."""

    def isatty(self):
        return True


class Failed(Exception):
    """A program ended with another status than 0."""


class Shell:
    """The programs' own entry points, called in this process: starting Python and importing all of
    it for each command would take most of the time. What they read and print is what they would."""

    def __init__(self, cloud, user):
        self.environment = cloud.environment(user)

    def openstack(self, *arguments, stdin=None):
        """What `openstack ARGUMENTS` prints."""
        # It keeps its clients, and so its user, for the life of a process.
        managers = (clientmanager, openstackclient.common.clientmanager)
        for manager in (module.ClientManager for module in managers):
            for client in vars(manager).values():
                if isinstance(client, clientmanager.ClientCache):
                    client._handle = None
        return self._run(lambda: openstackclient.shell.main(list(arguments)), stdin)

    def json(self, *arguments):
        return json.loads(self.openstack(*arguments, '-f', 'json'))

    def glance(self, *arguments, stdin=None):
        """What `glance ARGUMENTS` prints."""
        return self._run(lambda: glanceclient.shell.OpenStackImagesShell().main(list(arguments)),
                         stdin)

    def table(self, *arguments, stdin=None):
        """The rows of two columns that `glance ARGUMENTS` prints."""
        rows = (line.strip('|').split('|', 1)
                for line in self.glance(*arguments, stdin=stdin).splitlines()
                if line.startswith('|'))
        return {row[0].strip(): row[1].strip() for row in rows}

    def rows(self, *arguments):
        """The rows below a heading that `glance ARGUMENTS` prints, each by the heading's names."""
        lines = [[cell.strip() for cell in line.strip('|').split('|')]
                 for line in self.glance(*arguments).splitlines() if line.startswith('|')]
        return [dict(zip(lines[0], line)) for line in lines[1:]]

    def _run(self, program, stdin):
        out, err = io.StringIO(), io.StringIO()
        saved = dict(os.environ), sys.stdin
        os.environ.update(self.environment)
        sys.stdin = stdin or Terminal()
        try:
            with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
                status = program()
        except SystemExit as end:
            status = end.code
        except Exception as error:
            raise Failed(f'{type(error).__name__}: {error}') from error
        finally:
            os.environ.clear()
            os.environ.update(saved[0])
            sys.stdin = saved[1]
        if status:
            raise Failed(f'{status}: {out.getvalue()}{err.getvalue()}')
        return out.getvalue()


class Steps:
    """Counts what has held, and says what comes next, so that a failure is found."""

    def __init__(self, program):
        self.program, self.count = program, 0

    def __call__(self, what, *holds):
        self.count += 1
        print(f'{self.program}: {what}', flush=True)
        for each in holds:
            assert each, f'{self.program}: {what}'

    def refused(self, what, act, *parts):
        """`act` has to fail, and to say all of `parts`."""
        try:
            act()
        except Exception as error:  # each client has errors of its own
            said = str(error)
            missing = [part for part in parts if part not in said]
            self(what, not missing) if not missing else self(f'{what}: {said}', False)
        else:
            self(f'{what}: it was not refused', False)


class Web:
    """A server on loopback of the files of a directory, for imports from the web."""

    def __init__(self, directory):
        handler = functools.partial(Quiet, directory=directory)
        self.server = http.server.ThreadingHTTPServer(('127.0.0.1', 0), handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def url(self, name):
        return f'http://127.0.0.1:{self.server.server_port}/{name}'


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


def until(what, holds, limit_secs=60):
    """Asks until `holds` gives something that counts as true, which is the answer."""
    deadline = time.monotonic() + limit_secs
    while not (found := holds()):
        assert time.monotonic() < deadline, f'not within {limit_secs} s: {what}'
        time.sleep(0.05)
    return found


def body(path, seed, size):
    """Writes a file that nothing compresses, and gives its digests as Glance names them."""
    with open(path, 'wb') as file:
        block = hashlib.shake_256(seed.encode()).digest(1 << 16)
        for at in range(0, size, len(block)):
            file.write(block[:size - at])
    return digests(path)


def digests(path):
    with open(path, 'rb') as file:
        data = file.read()
    return hashlib.md5(data).hexdigest(), hashlib.sha512(data).hexdigest()
