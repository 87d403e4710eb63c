from ._candidates import default_candidates
from ._display import LeaderboardDisplay
from ._novel_class_discovery import NovelClassDiscovery

__all__ = ["LeaderboardDisplay", "NovelClassDiscovery", "default_candidates"]
