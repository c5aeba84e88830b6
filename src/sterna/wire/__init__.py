"""S3-shaped HTTP: bytes to answers, signed, retried and paced."""
