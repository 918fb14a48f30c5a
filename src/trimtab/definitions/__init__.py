"""The definitions of a project: sources, entities, feature views, on-demand transforms, models.

Importing this package loads no data library, and a definition reads no file.
A wrong definition raises DefinitionError, which names the object, what was expected and the nearest valid name.
"""
