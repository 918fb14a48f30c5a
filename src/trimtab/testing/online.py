"""What every online store must do; subclassed in the tests of each backend."""


class OnlineConformance:
    pass
