"""Update clips: how large a client's update may be, from round to round."""

from flspec.core.families import register_family
from flspec.update_clips.base import UpdateClip

register_family(__name__, __path__)

__all__ = ["UpdateClip"]
