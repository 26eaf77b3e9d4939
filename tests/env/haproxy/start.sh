#!/usr/bin/env bash
# Nothing runs: a test starts haproxy itself, before a server of its own.
