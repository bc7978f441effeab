"""Published networks behind the interfaces of our own small ones, so that each part can be exchanged alone.

Every class loads from a local folder with the files of the published repository: ``from_pretrained(folder, device=,
dtype=)``. Nothing is fetched from a network and no code that lies in such a folder is run.
"""
