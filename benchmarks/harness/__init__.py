"""The parts of bench.py: programs, trees and servers in, measurements and a report out."""
