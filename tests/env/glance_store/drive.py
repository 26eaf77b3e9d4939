"""Glance's own drivers, on the configuration file that the server under test has.

    drive.py CONFIG     takes a command from each line of its input and answers it with a line

    read STORE URL FILE     writes what the URL holds into FILE; answers its size as the driver has it
    add STORE IMAGE FILE    answers the new location's URL
    delete STORE URL
    point IMAGE URL         no driver: makes the URL the location of the image

A command that fails ends it.
"""
import os
import sqlite3
import sys

from glance_store import multi_backend
from oslo_config import cfg


def configured(path):
    conf = cfg.CONF
    conf.register_opts([cfg.DictOpt("enabled_backends")])
    conf.register_opts([cfg.StrOpt("connection")], group="database")
    conf([], project="glance", default_config_files=[path], default_config_dirs=[])
    multi_backend.register_store_opts(conf)
    multi_backend.create_multi_stores(conf)
    return conf


def read(conf, store, url, path):
    pieces, _size = multi_backend.get(url, store)
    with open(path, "wb") as file:
        for piece in pieces:
            file.write(piece)
    return multi_backend.get_size_from_uri_and_backend(url, store)


def add(conf, store, image, path):
    with open(path, "rb") as file:
        added = multi_backend.add_with_multihash(
            conf, image, file, os.path.getsize(path), store, "sha512")
    return added[0]


def delete(conf, store, url):
    multi_backend.delete(url, store)


def point(conf, image, url):
    path = conf.database.connection.removeprefix("sqlite:///")
    with sqlite3.connect(path, timeout=30) as database:
        changed = database.execute(
            "UPDATE image_locations SET value = ? WHERE image_id = ?", (url, image))
        assert changed.rowcount == 1, changed.rowcount


conf = configured(sys.argv[1])
for line in sys.stdin:
    command, *arguments = line.split()
    answer = {"read": read, "add": add, "delete": delete, "point": point}[command](conf, *arguments)
    print(answer, flush=True)
