"""Does a model server answer the Open Inference Protocol as it is written? Probes, real clients and a
fuzzer, run on Noria and on its peers, side by side.
"""
