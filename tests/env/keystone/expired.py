"""expired.py USER_ID PROJECT_ID: prints a token of the user that ended a minute ago.

Made by Keystone's own code with the keys of the Keystone whose OS_KEYSTONE_CONFIG_DIR is set.
"""
import datetime
import sys

sys.argv, (user, project) = ['keystone'], sys.argv[1:]

import keystone.conf  # noqa: E402
from keystone.token import token_formatters  # noqa: E402

keystone.conf.configure()
keystone.conf.CONF([], project='keystone', default_config_files=[
    f'{__import__("os").environ["OS_KEYSTONE_CONFIG_DIR"]}/keystone.conf'])
ended = datetime.datetime.now(datetime.timezone.utc) - datetime.timedelta(minutes=1)
print(token_formatters.TokenFormatter().create_token(
    user_id=user, expires_at=ended.strftime('%Y-%m-%dT%H:%M:%S.000000Z'),
    audit_ids=['AAAAAAAAAAAAAAAAAAAAAA'], payload_class=token_formatters.ProjectScopedPayload,
    methods=['password'], project_id=project))
