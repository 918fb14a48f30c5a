"""What data scientists write: sources, entities, feature views, on-demand transforms, models.

Pure and light: importing this module loads no data library, and defining something reads no file.
A wrong definition raises DefinitionError naming the object, what was expected and the nearest name.
"""
