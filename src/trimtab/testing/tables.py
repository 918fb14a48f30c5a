"""What every tables store must do; subclassed in the tests of each backend."""


class TablesConformance:
    pass
