"""What can be called: ``/v1/models`` as OpenAI's clients read it, ``/info`` as Azure's do.

A caller sees the deployments that are open to its key, by the names by which it calls them, and nothing of the backends.
"""

from __future__ import annotations

from aiohttp import web

from safety_proxy.model import JSONObject
from safety_proxy.server.azure_api import require_api_version
from safety_proxy.server.deployments import Deployment, Deployments, Key
from safety_proxy.server.exchange import PROXY, json_response


async def list_models(request: web.Request) -> web.Response:
    """The deployments that are open to the caller."""
    deployments, key = _asked_by(request)
    return json_response({"object": "list", "data": [_as_model(each) for each in deployments.open_to(key)]})


async def show_model(request: web.Request) -> web.Response:
    """One of them. Raises `RequestError` 404 for any other name."""
    deployments, key = _asked_by(request)
    return json_response(_as_model(deployments.find(request.match_info["model"], key, "model")))


async def show_info(request: web.Request) -> web.Response:
    """The default deployment, or the one that the header ``azureml-model-deployment`` names, in Azure's words."""
    deployments, key = _asked_by(request)
    deployment = deployments.choose(request, None, key)
    return json_response(
        {
            "model_name": deployment.model or deployment.name,
            "model_type": deployment.model_type,
            "model_provider_name": deployment.provider,
        }
    )


def _asked_by(request: web.Request) -> tuple[Deployments, Key | None]:
    deployments = request.app[PROXY].deployments
    key = deployments.authenticate(request)
    require_api_version(request)
    return deployments, key


def _as_model(deployment: Deployment) -> JSONObject:
    """OpenAI's shape. When a model was made nobody here knows, but clients want a number."""
    return {"id": deployment.name, "object": "model", "created": 0, "owned_by": deployment.provider}
