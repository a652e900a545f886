#!/usr/bin/env python3
"""A DNS server for one name: dns.py ADDRESS NAME ANSWER.

It answers A questions about NAME with the address ANSWER, says NXDOMAIN to all
others, and prints a line when it is ready, and one for each question."""
import socket
import struct
import sys


def name_at(packet, pos):
    labels = []
    while packet[pos]:
        labels.append(packet[pos + 1:pos + 1 + packet[pos]].decode())
        pos += 1 + packet[pos]
    return ".".join(labels), pos + 1


def reply(packet, known, address):
    name, end = name_at(packet, 12)
    kind = struct.unpack(">H", packet[end:end + 2])[0]
    question = packet[12:end + 4]
    is_known = name.lower() == known
    print(name, kind, flush=True)
    answer = b""
    if is_known and kind == 1:
        answer = b"\xc0\x0c" + struct.pack(">HHIH", 1, 1, 60, 4) + \
            socket.inet_aton(address)
    flags = 0x8180 if is_known else 0x8183
    return packet[:2] + struct.pack(">HHHHH", flags, 1, bool(answer), 0, 0) \
        + question + answer


server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
server.bind((sys.argv[1], 53))
print("ready", flush=True)
while True:
    data, peer = server.recvfrom(4096)
    server.sendto(reply(data, sys.argv[2], sys.argv[3]), peer)
