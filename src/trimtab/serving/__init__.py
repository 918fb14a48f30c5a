"""Serving: the gateway that answers, logs and takes labels. One process; app hands it everything."""

from trimtab.serving.runtime import Vectorizer, VectorizerFactory
from trimtab.serving.server import ANNOUNCEMENT, Announcement, GatewayConfig, serve

__all__ = ["ANNOUNCEMENT", "Announcement", "GatewayConfig", "Vectorizer", "VectorizerFactory", "serve"]
