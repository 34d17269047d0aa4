"""The durable log of received events and of what is still owed to each destination."""
