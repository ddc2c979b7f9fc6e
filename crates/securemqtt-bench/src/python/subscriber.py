"""The receiving end of the Python baseline."""

import base64
import json
import sys
import time

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from common import FIRST_NUMBER, Exchange, connect, questions, say

STALLED = 10

job = json.loads(sys.argv[1])
count, last_ns, disordered, aead = 0, 0, 0, None


def on_message(client, userdata, message):
    global count, last_ns, disordered, aead
    if aead is None:
        aead = AESGCM(exchange.key)
    envelope = json.loads(message.payload)
    nonce, sealed = base64.b64decode(envelope["nonce"]), base64.b64decode(envelope["ciphertext"])
    reading = json.loads(aead.decrypt(nonce, sealed, None))
    disordered += reading["n"] != FIRST_NUMBER + count
    last_ns = time.monotonic_ns()
    count += 1


client = connect(job, "python-subscriber")
exchange = Exchange(client, job["topic"], "subscriber", "publisher")
client.message_callback_add(job["topic"], on_message)
client.subscribe(job["topic"], qos=job["qos"])
say("ready")

for question in questions():
    seen, since = count, time.monotonic()
    while count < question["readings"] and time.monotonic() - since < STALLED:
        if count > seen:
            seen, since = count, time.monotonic()
        time.sleep(0.002)
    say("delivered", readings=count, last_ns=last_ns, disordered=disordered, ages_ns=[])
