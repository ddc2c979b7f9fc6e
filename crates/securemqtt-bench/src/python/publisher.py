"""The publishing end of the Python baseline."""

import base64
import collections
import json
import os
import sys
import time

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from common import FIRST_NUMBER, IN_FLIGHT, Exchange, connect, questions, say

job = json.loads(sys.argv[1])
load = job["load"]
client = connect(job, "python-publisher")
exchange = Exchange(client, load["topic"], "publisher", "subscriber")
if not exchange.done.wait(60):
    say("failed", why="no key")
    sys.exit(1)
aead = AESGCM(exchange.key)
say("ready")

number = 0
pad = "x" * max(0, load["size"] - len(json.dumps({"n": FIRST_NUMBER, "pad": ""})))
for question in questions():
    began_ns = time.monotonic_ns()
    deadline = time.monotonic() + question["millis"] / 1000
    before = number
    window = collections.deque()
    while time.monotonic() < deadline:
        reading = json.dumps({"n": FIRST_NUMBER + number, "pad": pad}).encode()
        nonce = os.urandom(12)
        sealed = aead.encrypt(nonce, reading, None)
        envelope = {"nonce": base64.b64encode(nonce).decode(), "ciphertext": base64.b64encode(sealed).decode()}
        window.append(client.publish(load["topic"], json.dumps(envelope), qos=load["qos"]))
        number += 1
        # Without a bound paho would gather all of it in memory.
        if len(window) > 2 * IN_FLIGHT:
            window.popleft().wait_for_publish(60)
    while window:
        window.popleft().wait_for_publish(60)
    say("published", readings=number - before, began_ns=began_ns)
    say("settled")
