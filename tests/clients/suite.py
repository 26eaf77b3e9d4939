"""suite.py CLOUD_JSON IMAGE_URL: unmodified clients against our server and a real Keystone.

Every step is asserted; the first that fails ends the run with a traceback. Run by
tests/it/clients.rs with the interpreter of tests/env/clients.
"""
import os
import subprocess
import sys
import tempfile

import by_glanceclient
import by_openstackclient
import by_sdk
from cloud import Cloud

cloud = Cloud(*sys.argv[1:])
cloud.enter()

# Once as a process of its own, as people start it.
program = os.path.join(os.path.dirname(sys.executable), 'openstack')
listed = subprocess.run([program, 'image', 'list', '-f', 'value'], capture_output=True, text=True,
                        env={**os.environ, **cloud.environment('member')})
assert listed.returncode == 0, listed.stderr

steps = 1
for suite in (by_openstackclient, by_glanceclient, by_sdk):
    with tempfile.TemporaryDirectory() as scratch:
        steps += suite.run(cloud, scratch)
print(f'{steps} passed, 0 failed')
