"""The door to Neuroglancer: a page that shows volumes, served to this machine alone."""

from __future__ import annotations

import importlib.util
import re
import secrets
import socket
import threading
from collections.abc import Sequence
from typing import Any

from chunkscale.errors import ChunkscaleError, OptionError
from chunkscale.viewing.layers import Layer, Scene

#: Only this machine gets an answer, and under no name that a foreign page could have given it.
_HOST = "127.0.0.1"

#: Chunks that are read at the same time, at most.
_READS = 4


def is_installed() -> bool:
    """Whether images can be shown in a browser."""
    return importlib.util.find_spec("neuroglancer") is not None


def require() -> None:
    """Refuse to go on where Neuroglancer is not installed.

    Raises
    ------
    OptionError
    """
    if not is_installed():
        raise OptionError(
            "images are shown in a browser with Neuroglancer, which is not installed here; "
            "pip install 'chunkscale[view]'"
        )


class Page:
    """A page that is served until it is closed.

    Parameters
    ----------
    scene : Scene
    port : int
        0 for any that is free.
    """

    def __init__(self, scene: Scene, port: int) -> None:
        require()
        from neuroglancer.server import Server
        from neuroglancer.viewer_base import ViewerBase

        _try_port(port)
        server: Any = Server(bind_address=_HOST, bind_port=port)
        self._server = server

        class Viewer(ViewerBase):  # type: ignore[misc]
            def defer_callback(self, callback: Any, *arguments: Any, **keywords: Any) -> None:
                server.loop.call_soon_threadsafe(lambda: callback(*arguments, **keywords))

        self._viewer = Viewer(allow_credentials=False)
        server.viewers[self._viewer.token] = self._viewer
        token = secrets.token_urlsafe(24)
        prefix = f"/{token}"
        server.app.add_handlers(
            re.escape(_HOST), [(rf"^{prefix}/([0-9]+)/(.+)$", _handler(scene.layers))]
        )
        self.state = scene_state(scene, f"{server.server_url}{prefix}")
        self._viewer.set_state(self.state)
        self.url = f"{server.server_url}/v/{self._viewer.token}/"

    def close(self) -> None:
        """Stop serving."""
        self._server.stop()


def _try_port(port: int) -> None:
    """Refuse a port that cannot be used; Neuroglancer would leave what it has opened."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as its server does
        try:
            probe.bind((_HOST, port))
        except OSError as error:
            raise OptionError(
                f"port {port} cannot be used ({error.strerror}); give another port, or 0 for any"
            ) from error


def _handler(layers: Sequence[Layer]) -> Any:
    """Return what answers for the voxels: GET and HEAD alone."""
    from tornado.ioloop import IOLoop
    from tornado.web import RequestHandler

    reading = threading.BoundedSemaphore(_READS)
    base: Any = RequestHandler

    class Voxels(base):  # type: ignore[misc]
        gone = False

        def on_connection_close(self) -> None:
            self.gone = True

        async def get(self, number: str, path: str) -> None:
            try:
                found = await IOLoop.current().run_in_executor(None, self.content, number, path)
            except (ChunkscaleError, OSError, MemoryError) as error:
                self.set_status(500)
                self.set_header("Content-Type", "text/plain; charset=utf-8")
                self.finish(str(error))
                return
            if found is None:
                self.set_status(404)
                self.finish()
                return
            kind = "json" if path.endswith(".json") else "octet-stream"
            self.set_header("Content-Type", f"application/{kind}")
            self.finish(found)

        head = get

        def content(self, number: str, path: str) -> bytes | None:
            with reading:
                # The page has moved on, or it asks for what is not there.
                if self.gone or len(number) > 6 or int(number) >= len(layers):
                    return None
                return layers[int(number)].volume.content(path)

    return Voxels


def scene_state(scene: Scene, base: str) -> dict[str, Any]:
    """Return the state of Neuroglancer as JSON values.

    Parameters
    ----------
    scene : Scene
    base : str
        URL below which the layers are served, by their number.
    """
    layers = [_layer(layer, f"{base}/{i}") for i, layer in enumerate(scene.layers)]
    groups = [
        {"type": "viewer", "layers": list(names), "layout": scene.layout} for names in scene.groups
    ]
    return {
        "dimensions": {name: list(scale) for name, scale in scene.dimensions.items()},
        "position": list(scene.position),
        "crossSectionScale": scene.pixel,
        "projectionScale": scene.pixel * 800,  # of a panel, and not of a pixel
        "crossSectionBackgroundColor": "#000000",
        "layers": layers,
        "layout": scene.layout if len(groups) == 1 else {"type": "row", "children": groups},
    }


def _layer(layer: Layer, url: str) -> dict[str, Any]:
    state: dict[str, Any] = {"name": layer.name, "source": f"zarr3://{url}/", "tab": "rendering"}
    if layer.limits is None:
        return {**state, "type": "segmentation"}
    low, high = layer.limits
    colour = "".join(f"{round(255 * part):02x}" for part in layer.colour)
    return {
        **state,
        "type": "image",
        "opacity": 1,
        "blend": "additive",
        "shader": (
            "#uicontrol invlerp normalized\n"
            f'#uicontrol vec3 colour color(default="#{colour}")\n'
            "void main() { emitRGB(colour * normalized()); }\n"
        ),
        "shaderControls": {"normalized": {"range": [low, high]}},
    }
