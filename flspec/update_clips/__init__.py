"""Update clips: how large a client's update may be, from round to round."""

from flspec.core.components import load_family
from flspec.update_clips.base import UpdateClip

load_family(__name__, __path__)

__all__ = ["UpdateClip"]
