"""Between bytes and records: Arrow IPC, the JSON dialect of the RPC interfaces, requests and answers."""
