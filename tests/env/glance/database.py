"""Makes an empty database beside the one of a URL, and prints its URL.

    DIRECTORY/bin/python database.py URL NAME
"""

import sys

import sqlalchemy

url, name = sqlalchemy.engine.make_url(sys.argv[1]), sys.argv[2]
engine = sqlalchemy.create_engine(url, isolation_level="AUTOCOMMIT")
with engine.connect() as connection:
    connection.execute(sqlalchemy.text(f"DROP DATABASE IF EXISTS {name}"))
    connection.execute(sqlalchemy.text(f"CREATE DATABASE {name}"))
print(url.set(database=name).render_as_string(hide_password=False))
