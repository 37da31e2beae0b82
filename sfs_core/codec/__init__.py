"""Between bytes and records: Arrow IPC, the JSON of the RPC interfaces and protobuf's own, requests and answers."""
