"""The gRPC side of the model server. Imported only where it listens: grpcio takes 18 MiB and 0.1 s."""
