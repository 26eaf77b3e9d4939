#!/usr/bin/env bash
# Nothing runs: a test starts nginx itself, before a server of its own.
