"""Runs a module as a bundle of PyInstaller does: the code that is loaded has paths relative to the folder that it was found in."""
import importlib.machinery
import os
import runpy
import sys


class Loader(importlib.machinery.SourceFileLoader):
    def get_code(self, fullname):
        path = self.get_filename(fullname)
        folders = [folder for folder in sys.path if path.startswith(folder + os.sep)]
        relative = os.path.relpath(path, max(folders, key=len))
        return compile(self.get_data(path), relative, "exec", dont_inherit=True)


extensions = (importlib.machinery.ExtensionFileLoader, importlib.machinery.EXTENSION_SUFFIXES)
hook = importlib.machinery.FileFinder.path_hook(extensions, (Loader, [".py"]))
sys.path_hooks.insert(0, hook)
sys.path_importer_cache.clear()
runpy.run_module(sys.argv[1], run_name="__main__")
