"""What a Prefect server has to know so that flows run by themselves: a work pool, deployments with their schedules and
triggers, an automation for runs that were lost. Which flows these are is said by `flows`."""

from tasks.deployments.deploying import Deployed, Trigger, as_prefect, deploy

__all__ = ["Deployed", "Trigger", "as_prefect", "deploy"]
