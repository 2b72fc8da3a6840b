"""What a proxy needs for the load that pillar declares: memory, files, hash tables."""

from __future__ import annotations

from voip_stack.pillar.components import Capacity

# Of the shared pool, rounded up from what `./voip bench registrations` measures; of a connection
# beside the buffer in which a message arrives.
CONTACT_KIB = 1.75
CONNECTION_KIB = 56.0
# Of that buffer: times the longest message that is accepted.
MESSAGES = 2
# Routing, dialogs, transactions in flight, certificates of each process.
BASE_MIB = 64
# Answers that wait to be read: of a connection with a thousand contacts, and of all together.
CONNECTION_QUEUE_MIB, QUEUES_MIB = 1, 64
# Beside the connections: listeners, control sockets, the database, pipes between processes.
OTHER_FILES = 1024
# Entries of a hash table's slot when it is full.
SLOT_ENTRIES = 8


def sizes(capacity: Capacity, max_message_bytes: int) -> dict[str, int]:
    """{"shm_mib", "open_files", "location_slots": the exponent of a power of two,
    "read_buffer_bytes", "connection_queue_bytes", "queues_bytes"}."""
    buffer = MESSAGES * max_message_bytes
    connection_kib = CONNECTION_KIB + buffer / 1024
    kib = capacity.contacts * CONTACT_KIB + capacity.connections * connection_kib
    slots = -(-capacity.contacts // SLOT_ENTRIES)
    return {
        "shm_mib": BASE_MIB + QUEUES_MIB + int(-(-kib // 1024)),
        "open_files": capacity.connections + OTHER_FILES,
        "location_slots": max(4, (slots - 1).bit_length()),
        "read_buffer_bytes": buffer,
        "connection_queue_bytes": CONNECTION_QUEUE_MIB << 20,
        "queues_bytes": QUEUES_MIB << 20,
    }
