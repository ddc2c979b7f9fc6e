#!/usr/bin/env python3
"""Known-answer vectors of PROTOCOL.md, computed by an implementation of its own.

    pip install cryptography
    python3 vectors/generate.py           # writes vectors/*.json
    python3 vectors/generate.py --check   # compares instead, and fails where they differ

It shares no code with the Rust crates. There is no randomness:
every key, salt and challenge is SHA-256 of its name. "crates/securemqtt-core/tests/vectors.rs" plays the same
stories through the engines and compares every byte.
"""

import hashlib
import hmac
import json
import pathlib
import sys

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

# --- primitives -------------------------------------------------------------------------------------------------


def sha256(*parts):
    return hashlib.sha256(b"".join(parts)).digest()


def hmac256(key, *parts):
    return hmac.new(key, b"".join(parts), hashlib.sha256).digest()


def extract(salt, ikm):
    return hmac256(salt, ikm)


def expand(prk, info, length):
    out, block, counter = b"", b"", 1
    while len(out) < length:
        block = hmac256(prk, block, info, bytes([counter]))
        out, counter = out + block, counter + 1
    return out[:length]


def be(number, length):
    return number.to_bytes(length, "big")


def varint(value):
    out = b""
    while value >= 0x80:
        out, value = out + bytes([value & 0x7F | 0x80]), value >> 7
    return out + bytes([value])


def xor_nonce(iv, seq):
    return bytes(a ^ b for a, b in zip(iv, bytes(4) + be(seq, 8)))


def seal(key_iv, seq, aad, plain):
    return AESGCM(key_iv[:16]).encrypt(xor_nonce(key_iv[16:], seq), plain, aad)


class Key:
    """A P-256 key pair from the 32 bytes of its scalar."""

    def __init__(self, secret):
        self.secret = secret
        self.private = ec.derive_private_key(int.from_bytes(secret, "big"), ec.SECP256R1())
        self.public = self.private.public_key().public_bytes(Encoding.X962, PublicFormat.CompressedPoint)

    def dh(self, public):
        return self.private.exchange(ec.ECDH(), ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), public))

    def sign(self, message):
        der = self.private.sign(message, ec.ECDSA(hashes.SHA256(), deterministic_signing=True))
        return b"".join(be(number, 32) for number in decode_dss_signature(der))

    @property
    def id(self):
        return sha256(self.public)[:16]


# --- constants --------------------------------------------------------------------------------------------------

PROTOCOL = b"securemqtt/1 IK_P256_AES128GCM_SHA256"
HELLO, REQUEST, RETRY, GRANT, ACK, KEYS, FRAME, BATCH, TICK, REPORT, RECEIPT = (
    bytes([0x10 | kind]) for kind in range(1, 12)
)
SUITE_1 = b"\x01"


# --- the file ---------------------------------------------------------------------------------------------------


class Story:
    """Fixed values under a name of their own, and what becomes a JSON file: section -> field -> value and meaning."""

    def __init__(self, name, description):
        self.name, self.description, self.sections = name, description, {}

    def fixed(self, what, length):
        return sha256(f"securemqtt/1 vectors, {self.name}: {what}".encode())[:length]

    def key(self, what):
        return Key(self.fixed(what, 32))

    def note(self, section, field, value, meaning):
        kind = {bytes: "hex", str: "text", int: "number", list: "list"}[type(value)]
        shown = value.hex() if kind == "hex" else [item.hex() for item in value] if kind == "list" else value
        assert field not in self.sections.setdefault(section, {}), (section, field)
        self.sections[section][field] = {kind: shown, "is": meaning}
        return value

    def text(self):
        lines = ["{", f'  "description": {json.dumps(self.description)}']
        for section, fields in self.sections.items():
            rows = [f'    {json.dumps(name)}: {json.dumps(row, ensure_ascii=False)}' for name, row in fields.items()]
            lines[-1] += ","
            lines += [f'  {json.dumps(section)}: {{', ",\n".join(rows), "  }"]
        return "\n".join(lines + ["}"]) + "\n"


# --- handshake --------------------------------------------------------------------------------------------------


class Transcript:
    """The symmetric state: h and ck, noted after every step."""

    def __init__(self, story, section, header, hello, pk_p):
        self.story, self.section, self.step = story, section, 0
        self.h = self.ck = sha256(PROTOCOL)
        self.note("h_protocol", self.h, "h = ck = SHA-256(protocol name)")
        self.mix_hash("header", header + sha256(hello), "MixHash(clear header || SHA-256(HELLO))")
        self.mix_hash("pkP", pk_p, "MixHash(pkP)")

    def note(self, field, value, meaning):
        return self.story.note(self.section, field, value, meaning)

    def mix_hash(self, after, data, meaning):
        self.h = self.note(f"h_{after}", sha256(self.h, data), f"h after {meaning}")

    def mix_key(self, dh_name, dh, meaning):
        self.note(f"dh_{dh_name}", dh, meaning)
        prk = extract(self.ck, dh)
        self.ck = self.note(f"ck_{dh_name}", expand(prk, b"ck", 32), f"ck after MixKey(dh_{dh_name})")
        return self.note(f"k_{dh_name}", expand(prk, b"k", 28), "key 16 || iv 12 of the same MixKey")

    def encrypt_and_hash(self, name, key_iv, plain, meaning):
        sealed = self.note(f"sealed_{name}", seal(key_iv, 0, self.h, plain), meaning)
        self.mix_hash(name, sealed, f"MixHash(sealed_{name})")
        return sealed


def make_hello(story, section, p, challenge, name):
    story.note(section, "challenge", challenge, "new at start and every hour")
    story.note(section, "name", name, "the petname that the publisher proposes")
    message = HELLO + b"\x01" + SUITE_1 + p.public + challenge + bytes([len(name)]) + name.encode()
    return story.note(section, "message", message, "HELLO")


def make_request(story, section, p, s, e, hello, sctr, name):
    header = REQUEST + SUITE_1 + s.id + sha256(hello)[:8]
    story.note(section, "header", header, "clear header: type, suite, idS, H(hello)")
    state = Transcript(story, section, header, hello, p.public)
    state.note("e_secret", e.secret, "the subscriber's ephemeral scalar")
    state.note("e", e.public, "its point")
    state.mix_hash("e", e.public, "MixHash(e)")
    k = state.mix_key("es", e.dh(p.public), "DH(e, pkP)")
    sealed_s = state.encrypt_and_hash("s", k, s.public, "the subscriber's identity key under k_es, h_e as AAD")
    k = state.mix_key("ss", s.dh(p.public), "DH(s, pkP)")
    state.note("sctr", sctr, "the subscriber's counter")
    state.note("name", name, "the petname that the subscriber proposes")
    payload = be(sctr, 8) + bytes([len(name)]) + name.encode() + be(0, 2)
    state.note("payload", payload, "sctr 8 | length 1 | name | length 2 = 0")
    sealed_payload = state.encrypt_and_hash("payload", k, payload, "the payload under k_ss, h_s as AAD")
    mac_key = expand(extract(b"securemqtt/1 request mac", s.dh(p.public)), b"mac" + p.public + s.public, 32)
    state.note("mac_key", mac_key, "the key of the mac, from DH(s, pkP)")
    before = header + e.public + sealed_s + sealed_payload
    mac = state.note("mac", hmac256(mac_key, before)[:16], "HMAC-SHA256(mac_key, all before it)[..16]")
    state.note("rid", state.h[:8], "the REQUEST's id: h[..8]")
    state.note("message", before + mac, "REQUEST")
    return state, before + mac


def make_grant(story, section, request_state, s, e_s, ep, payload):
    state = request_state
    state.section = section
    header = state.note("header", GRANT + state.h[:8], "clear header: type, rid")
    state.mix_hash("header", header, "MixHash(clear header)")
    state.note("e_secret", ep.secret, "the publisher's ephemeral scalar")
    state.note("e", ep.public, "its point")
    state.mix_hash("e", ep.public, "MixHash(e)")
    state.mix_key("ee", ep.dh(e_s.public), "DH(e, the subscriber's e); its k is not used")
    k = state.mix_key("se", ep.dh(s.public), "DH(e, pkS)")
    state.note("payload", payload, "status 1 | sctr 8 | stream 71 unless status is not 0")
    sealed = state.encrypt_and_hash("payload", k, payload, "the payload under k_se, h_e as AAD")
    return state.note("message", header + ep.public + sealed, "GRANT")


class Session:
    """Split, the messages under ka, and the key chain."""

    def __init__(self, story, section, state):
        self.story, self.idx = story, 0
        self.sid = story.note(section, "sid", expand(state.ck, b"sid" + state.h, 8), 'Expand(ck, "sid" || h, 8)')
        self.ka = story.note(section, "ka", expand(state.ck, b"ack" + state.h, 32), 'Expand(ck, "ack" || h, 32)')
        self.wk = story.note(section, "wk_0", expand(state.ck, b"wrap" + state.h, 32), 'Expand(ck, "wrap" || h, 32)')

    def ack(self, section, idx, sctr, meaning):
        before = ACK + self.sid + be(idx, 4) + be(sctr, 8)
        return self.story.note(section, "message", before + hmac256(self.ka, before)[:16], meaning)

    def tagged(self, section, before, meaning):
        tag = self.story.note(section, "tag", hmac256(self.ka, before)[:16], "HMAC-SHA256(ka, all before it)[..16]")
        return self.story.note(section, "message", before + tag, meaning)

    def report(self, section, sctr, topics, meaning):
        """topics: (run, topic, next, [(from, to)]) each."""
        note = lambda *args: self.story.note(section, *args)
        note("sctr", sctr, "the subscriber's counter")
        entries = []
        for run, topic, upto, missing in topics:
            ranges = b"".join(be(start, 4) + be(end, 4) for start, end in missing)
            entries.append(run + sha256(topic.encode())[:8] + be(upto, 4) + be(len(missing), 2) + ranges)
        note("topics", entries, "each run 5 | SHA-256(topic)[..8] | next 4 | m 2 | m x { from 4 | to 4 }")
        before = REPORT + self.sid + be(sctr, 8) + bytes([len(topics)]) + b"".join(entries)
        return self.tagged(section, before, meaning)

    def receipt(self, section, sctr, meaning):
        self.story.note(section, "sctr", sctr, "the highest counter that P has seen of S")
        return self.tagged(section, RECEIPT + self.sid + be(sctr, 8), meaning)

    def entry(self, section, payload):
        """Seals the next entry and returns a KEYS message that holds it alone."""
        self.idx += 1
        i, note = self.idx, self.story.note
        salt = note(section, "salt", self.story.fixed(f"salt of entry {i}", 16), "random")
        key = expand(self.wk, b"entry" + salt, 28)
        note(section, "key", key, f'key 16 || iv 12: Expand(wk_{i - 1}, "entry" || salt, 28)')
        aad = note(section, "aad", KEYS + self.sid + be(i, 4) + salt, "type || sid || idx || salt")
        note(section, "payload", payload, "1 | stream 71, or 2 | status 1")
        sealed = note(section, "sealed", seal(key, 0, aad, payload), "the payload under key, aad as AAD")
        self.wk = note(section, f"wk_{i}", expand(self.wk, b"next", 32), f'Expand(wk_{i - 1}, "next", 32)')
        message = KEYS + self.sid + b"\x01" + be(i, 4) + salt + be(len(sealed), 2) + sealed
        return note(section, "message", message, f"KEYS with entry {i} alone")


# --- streams ----------------------------------------------------------------------------------------------------


class Topic:
    def __init__(self):
        self.next, self.leaves = 0, []  # leaves: (first number, number after the last, leaf)
        self.kept = None  # the first number that can be sent again; None where nothing can

    def digest(self, start):
        return sha256(*(leaf for first, _, leaf in self.leaves if first >= start))


class Stream:
    """A stream with one run of it at a time."""

    def __init__(self, story, section, p, label, signed=False):
        self.story, self.p, self.signed, self.generation = story, p, signed, 0
        note = lambda *args: story.note(section, *args)
        self.gs = note("gs_0", story.fixed(f"{label}, gs", 32), "the generation secret of generation 0: random")
        self.id = note("stream_id", story.fixed(f"{label}, id", 4), "random")
        self.signing = story.key(f"{label}, signing key")
        note("signing_key", self.signing.secret, "the scalar of the stream's signing key: random")
        note("verification_key", self.signing.public, "its point")
        self.run = note("run", story.fixed(f"{label}, run", 5), "random")
        note("encoding", self.encoding(), "flags 1 | stream id 4 | generation 1 | gs 32 | verification key 33")
        self.topics, self.tick_seq = {}, 0

    def restart(self, section, label):
        """A new run of the same stream, as a new process begins it; returns the old run's id."""
        old = self.run
        self.run = self.story.note(section, "run", self.story.fixed(label, 5), "random, not among the stream's used runs")
        self.topics, self.tick_seq = {}, 0
        return old

    def encoding(self):
        flags = b"\x01" if self.signed else b"\x00"
        return flags + self.id + bytes([self.generation]) + self.gs + self.signing.public

    def step(self, section):
        self.generation += 1
        self.gs = expand(self.gs, b"gen" + self.p.id + self.id, 32)
        meaning = 'Expand(gs, "gen" || idP || stream id, 32)'
        self.story.note(section, f"gs_{self.generation}", self.gs, meaning)

    def context(self):
        return self.p.id + self.id + self.run + bytes([self.generation])

    def traffic_key(self, topic):
        return expand(self.gs, b"frame" + self.context() + sha256(topic.encode()), 28)

    def signature(self, section, label, header, topic, body):
        raw = topic.encode()
        signed = label + self.p.id + header + be(len(raw), 2) + raw + body
        self.story.note(section, "signed", signed, "label || idP || header || topic length 2 || topic || body")
        return self.story.note(section, "signature", self.signing.sign(signed), "ECDSA, RFC 6979 with SHA-256, r || s")

    def seal_message(self, section, kind, topic, seq, body, label):
        note = lambda *args: self.story.note(section, *args)
        note("topic", topic, "the MQTT topic")
        note("seq", seq, "the (first) sequence number")
        header = note("header", kind + self.run + bytes([self.generation]) + varint(seq), "type, run, generation, seq")
        key = note("key", self.traffic_key(topic), "key 16 || iv 12 of the topic in this run and generation")
        note("nonce", xor_nonce(key[16:], seq), "iv xor seq")
        aad = note("aad", header + topic.encode(), "header || topic")
        if label:
            body += self.signature(section, label, header, topic, body)
        note("plaintext", body, "what is sealed, with the signature if there is one")
        return note("message", header + seal(key, seq, aad, body), {FRAME: "FRAME", BATCH: "BATCH", TICK: "TICK"}[kind])

    def publish(self, section, kind, topic, count, body):
        state = self.topics.setdefault(topic, Topic())
        label = b"securemqtt/1 frame" if self.signed else None
        message = self.seal_message(section, kind, topic, state.next, body, label)
        leaf = self.story.note(section, "leaf", sha256(message)[:16], "SHA-256(message)[..16], for the digest")
        state.leaves.append((state.next, state.next + count, leaf))
        state.next += count
        return message

    def frame(self, section, topic, reading):
        self.story.note(section, "reading", reading, "the reading")
        return self.publish(section, FRAME, topic, 1, reading)

    def batch(self, section, topic, readings):
        self.story.note(section, "readings", readings, "the readings")
        body = b"".join(varint(len(reading)) + reading for reading in readings)
        return self.publish(section, BATCH, topic, len(readings), body)

    def position(self, topic, start):
        state, raw = self.topics[topic], topic.encode()
        kept = state.next if state.kept is None else state.kept
        return be(len(raw), 2) + raw + be(kept, 4) + be(start, 4) + be(state.next, 4) + state.digest(start)

    def run_positions(self, starts):
        """starts: topic -> from, in the order in which the tick names them."""
        positions = b"".join(self.position(topic, start) for topic, start in starts.items())
        return self.run + self.id + be(len(starts), 2) + positions

    def tick(self, section, clock_ms, starts, older=(), last=False, asks=False):
        note = lambda *args: self.story.note(section, *args)
        note("clock_ms", clock_ms, "Unix time in milliseconds")
        commitment = expand(self.gs, b"commit" + self.context(), 16)
        note("commitment", commitment, 'Expand(gs, "commit" || idP || stream id || run || generation, 16)')
        runs = [self.run_positions(starts), *older]
        note("runs", runs, "each run 5 | stream id 4 | n 2 | n x topic; this run first")
        body = bytes([asks | last << 1]) + commitment + be(clock_ms, 8) + be(len(runs), 2) + b"".join(runs)
        note("body", body, "flags 1 | commitment 16 | clock 8 | n 2 | runs")
        topic = f"securemqtt/v1/{self.p.id.hex()}/tick"
        seq, self.tick_seq = self.tick_seq, self.tick_seq + 1
        return self.seal_message(section, TICK, topic, seq, body, b"securemqtt/1 tick")


# --- the stories ------------------------------------------------------------------------------------------------

CLOCK = 1_800_000_000_000
VITALS, WAVES = "hospital/ward-7/bed-3/vitals", "hospital/ward-7/bed-3/wellen-ä"


def parties(story, *names):
    keys = [story.key(name) for name in names]
    for name, key in zip(names, keys):
        story.note("identities", f"{name}_secret", key.secret, f"the scalar of {name}'s identity key")
        story.note("identities", f"{name}_public", key.public, "its compressed point")
        story.note("identities", f"{name}_id", key.id, "SHA-256(compressed point)[..16]")
    return keys


def session_story():
    """A handshake, a refusal, readings, two generations, a rotation and a revocation."""
    story = Story(
        "session",
        "A publisher P and a subscriber S: handshake, key chain, frames, batches, ticks, a generation, a rotation, a "
        "revocation. All values in hex; sections in the order of time. See vectors/README.md.",
    )
    p, s, stranger = parties(story, "P", "S", "stranger")
    one = Stream(story, "stream 1", p, "stream 1")
    hello = make_hello(story, "hello", p, story.fixed("challenge", 16), "bed-3")
    one.tick("tick 0", CLOCK, {})

    e = story.key("e of S")
    state, _ = make_request(story, "request", p, s, e, hello, 1, "ward-monitor")
    make_grant(story, "grant", state, s, e, story.key("e of P"), b"\x00" + be(1, 8) + one.encoding())
    session = Session(story, "split", state)

    e = story.key("e of the stranger")
    state, request = make_request(story, "stranger's request", p, stranger, e, hello, 7, "eve")
    make_grant(story, "refusal", state, stranger, e, story.key("e of P, refusing"), b"\x01" + be(7, 8))
    hello_2 = make_hello(story, "second hello", p, story.fixed("second challenge", 16), "bed-3")
    message = RETRY + sha256(request)[:8] + hello_2
    story.note("retry", "message", message, "RETRY to the stranger's REQUEST, were the first HELLO no longer valid")

    session.ack("confirm", 0, 2, "ACK, idx 0, sctr 2: confirms the handshake")
    session.entry("keys 1", b"\x01" + one.encoding())
    one.tick("tick 1", CLOCK, {})
    session.ack("ack 1", 1, 3, "ACK, idx 1, sctr 3: entry 1 is held; P clears the retained KEYS")

    reading = b'{"time":"2027-01-15T08:00:00Z","device":"bed-3","metric":"heart_rate","value":72,"unit":"1/min","quality":"ok"}'
    one.frame("frame 0", VITALS, reading)
    one.batch("batch 1", VITALS, [b"spo2=98", b"", b"temp=36.8"])
    one.batch("long batch", WAVES, [b""] * 300)
    one.frame("frame 300", WAVES, b"\x00\xff\x7f\x80")
    one.tick("tick 2", CLOCK + 10_000, {VITALS: 0, WAVES: 0})

    one.step("generation 1")
    one.frame("frame 4", VITALS, b"hr=73")
    one.tick("tick 3", CLOCK + 20_000, {VITALS: 0, WAVES: 0})

    two = Stream(story, "stream 2", p, "stream 2")
    session.entry("keys 2", b"\x01" + two.encoding())
    session.ack("ack 2", 2, 4, "ACK, idx 2, sctr 4: P switches to stream 2")
    one.tick("last tick", CLOCK + 25_000, {WAVES: 301, VITALS: 4}, last=True)
    older = one.run_positions({WAVES: 301, VITALS: 5})
    two.tick("first tick of stream 2", CLOCK + 25_000, {}, [older])
    two.frame("frame of stream 2", VITALS, b"hr=74")
    session.entry("keys 3", b"\x02\x03")
    return story


def signed_story():
    """The same for a stream whose frames are all signed."""
    story = Story(
        "signed",
        "A stream with the flag for signed frames: handshake, a signed FRAME and a signed BATCH. See session.json for "
        "the rest.",
    )
    p, s = parties(story, "P", "S")
    stream = Stream(story, "stream 1", p, "stream 1", signed=True)
    hello = make_hello(story, "hello", p, story.fixed("challenge", 16), "boiler")
    stream.tick("tick 0", CLOCK, {})
    e = story.key("e of S")
    state, _ = make_request(story, "request", p, s, e, hello, 1, "plant.control_1")
    make_grant(story, "grant", state, s, e, story.key("e of P"), b"\x00" + be(1, 8) + stream.encoding())
    Session(story, "split", state)
    stream.frame("frame 0", "plant/boiler/valve", b"open")
    stream.batch("batch 1", "plant/boiler/valve", [b"shut", b"open"])
    return story


def repair_story():
    """A publisher that restarts and keeps what it sealed; a subscriber that asks for what is missing."""
    story = Story(
        "repair",
        "A publisher that restarts within its stream and asks for a REPORT: the first TICK of its second run names what "
        "it can send again of both; a REPORT with missing ranges, a probe, and the RECEIPT. See session.json for the rest.",
    )
    p, s = parties(story, "P", "S")
    stream = Stream(story, "stream 1", p, "stream 1")
    hello = make_hello(story, "hello", p, story.fixed("challenge", 16), "bed-3")
    stream.tick("tick 0", CLOCK, {})
    e = story.key("e of S")
    state, _ = make_request(story, "request", p, s, e, hello, 1, "ward-monitor")
    make_grant(story, "grant", state, s, e, story.key("e of P"), b"\x00" + be(1, 8) + stream.encoding())
    session = Session(story, "split", state)
    session.ack("confirm", 0, 2, "ACK, idx 0, sctr 2: confirms the handshake")
    session.entry("keys 1", b"\x01" + stream.encoding())
    stream.tick("tick 1", CLOCK, {})
    session.ack("ack 1", 1, 3, "ACK, idx 1, sctr 3: entry 1 is held")

    # Of these the batch and frame 5 are lost on their way to S.
    stream.frame("frame 0", VITALS, b"hr=70")
    stream.batch("batch 1", VITALS, [b"hr=71", b"hr=72", b"hr=73"])
    stream.frame("frame 4", VITALS, b"hr=74")
    stream.frame("frame 5", VITALS, b"hr=75")
    stream.frame("frame 6", VITALS, b"hr=76")
    # P can no longer send frame 0 again, and what the digest is made of did not survive the restart.
    stream.topics[VITALS].kept = 1
    older = stream.run_positions({VITALS: 7})
    first_run = stream.restart("second run", "the second run")
    stream.frame("frame 0 of the second run", WAVES, b"\x00\xff")
    stream.frame("frame 1 of the second run", WAVES, b"\x7f\x80")
    stream.topics[WAVES].kept = 0
    stream.tick("first tick of the second run", CLOCK + 30_000, {WAVES: 0}, [older], asks=True)

    missing = [(1, 4), (5, 6)]
    topics = [(first_run, VITALS, 7, missing), (stream.run, WAVES, 2, [])]
    session.report("report", 4, topics, "REPORT: of the first run, 1..4 and 5..6 are wanted again")
    session.report("probe", 5, [], "REPORT, n = 0: asks for a RECEIPT")
    session.receipt("receipt", 5, "RECEIPT to the probe, and to a later REPORT whose sctr does not rise")
    return story


def main():
    folder, wrong = pathlib.Path(__file__).parent, 0
    for story in (session_story(), signed_story(), repair_story()):
        path = folder / f"{story.name}.json"
        if "--check" not in sys.argv[1:]:
            path.write_text(story.text(), encoding="utf-8")
        elif path.read_text(encoding="utf-8") != story.text():
            print(f"{path} differs from what PROTOCOL.md gives; run {sys.argv[0]} to write it anew", file=sys.stderr)
            wrong = 1
    return wrong


if __name__ == "__main__":
    sys.exit(main())
