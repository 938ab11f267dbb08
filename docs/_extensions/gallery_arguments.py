"""What an example of the gallery finds in sys.argv: a folder for its pictures, which is gone after the build."""

import atexit
import tempfile

_FOLDER = tempfile.TemporaryDirectory()
atexit.register(_FOLDER.cleanup)


def folder(conf, script_vars):
    return [_FOLDER.name]
