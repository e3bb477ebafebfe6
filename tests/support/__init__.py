"""What tests share: pictures, the stand-in on loopback, and runs of the real program."""
