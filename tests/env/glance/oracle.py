"""Answers what Glance makes of an image's data: the gate's own oracle.

Runs `set_data` of Glance's own image, with a store that only reads. One question a line, in JSON:
{"base": PATH, "edits": [[OFFSET, HEX], ...], "length": N, "container": C, "disk": D,
 "require": BOOL, "nonfatal": [NAME, ...]}
and one answer a line:
{"refused": REASON or null, "virtual_size": "N" or null, "safety": S, "formats": [FORMAT, ...],
 "dangers": [CHECK, ...], "gave_up": [FORMAT, ...], "crash": NAME or null, "fixed_vhd": "N" or null}
S is what became of the safety checks: "none", "passed", "failed", "error" (not to be judged). Dangers
are of all formats that match, whether Glance asked for them or not; after an error in its own parsing,
an inspector has given up.

One inspector crashes on text that turns into something else: it has not noted that this is no VMDK.
Then the answer is what Glance would say if it had. The size of a fixed VHD is read here, as Glance
does not know them.
"""

import json
import logging
import struct
import sys
import types

from oslo_utils.imageutils import format_inspector
import glance.common.config  # noqa: F401, registers options
from glance.common import exception
import glance.location
from oslo_config import cfg

CONF = cfg.CONF
CONF([], default_config_files=[])
logging.disable(logging.CRITICAL)

PIECE = 64 * 1024
OUTCOME = {}
JUDGE = format_inspector.FileInspector.safety_check


def judge(self):
    try:
        JUDGE(self)
        OUTCOME["safety"] = "passed"
    except format_inspector.SafetyCheckFailed:
        OUTCOME["safety"] = "failed"
        raise
    except Exception:
        OUTCOME["safety"] = "error"
        raise


format_inspector.FileInspector.safety_check = judge


class Data:
    def __init__(self, data):
        self.data, self.at = data, 0

    def read(self, size):
        piece = self.data[self.at:self.at + size]
        self.at += len(piece)
        return bytes(piece)


class Image(glance.location.ImageProxy):
    def __init__(self, image):
        self.image, self.context = image, None

    def _upload_to_store(self, data, verifier, store=None, size=None):
        OUTCOME["data"] = data
        while data.read(PIECE):
            pass


def fixed_vhd(data):
    """The size that a disk without holes has by its footer, which is the end of the file."""
    footer = bytes(data[-512:])
    if len(footer) < 512 or footer[:8] != b"conectix":
        return None
    size, kind, checksum = struct.unpack_from(">Q4xII", footer, 48)
    summed = sum(footer) - sum(footer[64:68])
    is_one = kind == 2 and checksum == ~summed & 0xffffffff and size + 512 == len(data)
    return str(size) if is_one else None


def dangers(inspectors):
    found = set()
    for inspector in inspectors:
        for name, check in inspector._safety_checks.items():
            try:
                check()
            except format_inspector.SafetyViolation:
                found.add(name)
    return sorted(found)


def ask(question, data):
    answer = judge_once(question, data)
    if answer["crash"]:
        format_inspector.VMDKInspector.vmdktype = "formatnotfound"
        answer = {**judge_once(question, data), "crash": answer["crash"]}
        del format_inspector.VMDKInspector.vmdktype
    return {**answer, "fixed_vhd": fixed_vhd(data)}


def judge_once(question, data):
    CONF.set_override("require_image_format_match", question["require"], group="image_format")
    CONF.set_override("gpt_safety_checks_nonfatal", question["nonfatal"], group="image_format")
    image = types.SimpleNamespace(
        container_format=question["container"], disk_format=question["disk"],
        extra_properties={}, virtual_size=None, status="queued", image_id="x")
    OUTCOME.clear()
    OUTCOME["safety"] = "none"
    refused = crash = None
    try:
        Image(image).set_data(Data(data))
    except exception.InvalidImageData as error:
        refused = str(error)
    safety, inspected, formats, gave_up = OUTCOME["safety"], OUTCOME["data"], [], []
    if question["container"] == "bare":
        gave_up = [str(inspector) for inspector in inspected._errored_inspectors]
        try:
            formats = inspected.formats
        except Exception as error:
            crash = type(error).__name__
    return {"refused": refused, "virtual_size": image.virtual_size and str(image.virtual_size),
            "safety": safety, "formats": sorted(str(inspector) for inspector in formats),
            "dangers": dangers(formats), "gave_up": gave_up, "crash": crash}


def main():
    path, base = None, b""
    for line in sys.stdin:
        question = json.loads(line)
        if question["base"] != path:
            path = question["base"]
            with open(path, "rb") as file:
                base = file.read()
        data = base
        if question["edits"] or question["length"] != len(base):
            data = bytearray(base)
            for offset, new in question["edits"]:
                new = bytes.fromhex(new)
                data[offset:offset + len(new)] = new
            del data[question["length"]:]
        print(json.dumps(ask(question, data)), flush=True)


main()
