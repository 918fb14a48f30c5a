"""What every artifacts store must do; subclassed in the tests of each backend."""


class ArtifactsConformance:
    pass
