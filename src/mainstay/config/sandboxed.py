"""What does the configuration become when a sandbox stands in?"""

from dataclasses import replace

from mainstay.config.model import Config, has_credentials
from mainstay.sandbox.model import SandboxAddress
from mainstay.settings import Secret

__all__ = ["with_sandbox"]


def with_sandbox(config: Config, sandbox: SandboxAddress) -> Config:
    """The same, with the sandbox's address and credentials where there were none. See `Config.sandbox_users`."""
    models = {
        name: replace(
            model,
            base_url=sandbox.models[name],
            model=model.model or "sandbox",
            api_key=Secret(sandbox.model_token),
        )
        if model.provider == "sandbox"
        else model
        for name, model in config.models.items()
    }
    channels = {
        name: channel
        if has_credentials(channel)
        else replace(
            channel,
            app_id=sandbox.app_id,
            app_secret=Secret(sandbox.app_secret),
            encrypt_key=Secret(sandbox.encrypt_key),
            verification_token=Secret(sandbox.verification_token),
            domain=sandbox.feishu_url,
        )
        for name, channel in config.bots.items()
    }
    return replace(config, models=models, channels={**config.channels, **channels})
