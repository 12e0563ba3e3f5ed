"""The promises of the contract, shown on a real server process, a real database and real sockets."""
