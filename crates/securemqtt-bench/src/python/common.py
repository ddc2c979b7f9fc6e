"""What both ends of the Python baseline share: the exchange, the envelope, and the benchmark's questions and answers.

Equal in work to a demo that encrypts every reading with AES-GCM under a key from an ECDH exchange that nobody
authenticates: a JSON envelope with nonce and ciphertext in Base64, one MQTT message a reading.
"""

import json
import sys
import threading
import time

import paho.mqtt.client as mqtt
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

FIRST_NUMBER = 1_000_000_000
IN_FLIGHT = 100


def say(what, **more):
    sys.stdout.write(json.dumps({"said": what, **more}) + "\n")
    sys.stdout.flush()


def questions():
    for line in sys.stdin:
        yield json.loads(line)


class Exchange:
    """An ECDH exchange over P-256; both public keys are retained, so that the order of starting does not matter."""

    def __init__(self, client, topic, mine, theirs):
        self.key = None
        self.done = threading.Event()
        self.secret = ec.generate_private_key(ec.SECP256R1())
        pem = self.secret.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        client.message_callback_add(f"{topic}/keys/{theirs}", self.derive)
        client.subscribe(f"{topic}/keys/{theirs}", qos=1)
        client.publish(f"{topic}/keys/{mine}", pem, qos=1, retain=True)

    def derive(self, client, userdata, message):
        peer = serialization.load_pem_public_key(message.payload)
        shared = self.secret.exchange(ec.ECDH(), peer)
        self.key = HKDF(algorithm=hashes.SHA256(), length=16, salt=None, info=b"demo").derive(shared)
        self.done.set()


def connect(job, name):
    client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, client_id=name)
    client.max_inflight_messages_set(IN_FLIGHT)
    client.max_queued_messages_set(0)
    client.connect("127.0.0.1", job["site"]["port"])
    client.loop_start()
    deadline = time.monotonic() + 20
    while not client.is_connected():
        if time.monotonic() > deadline:
            say("failed", why="no connection")
            sys.exit(1)
        time.sleep(0.005)
    return client
