"""What Prometheus sees of webhooks, read from the database when it asks."""

from collections.abc import Iterable

from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from sqlalchemy import extract, func, select
from sqlalchemy.exc import SQLAlchemyError

from core import db
from core.errors import Unavailable
from models.tables import Webhook, WebhookDelivery
from models.webhooks import DeliveryStatus, EndpointStatus


class Webhooks(Collector):
    """Endpoints and messages by state, and how late the oldest message is."""

    def collect(self) -> Iterable[Metric]:
        """Nothing while the database is away, which another figure tells."""
        try:
            endpoints, messages, late_s = _read()
        except (SQLAlchemyError, Unavailable):
            return
        by_state = GaugeMetricFamily("distillery_webhooks", "Webhooks by state.", labels=["status"])
        for state in EndpointStatus:
            by_state.add_metric([state.value], endpoints.get(state, 0))
        yield by_state
        sent = GaugeMetricFamily(
            "distillery_webhook_deliveries", "Messages that are kept, by state.", labels=["status"]
        )
        for status in DeliveryStatus:
            sent.add_metric([status.value], messages.get(status, 0))
        yield sent
        late = GaugeMetricFamily("distillery_webhook_late_seconds", "How long the oldest message that is due is due.")
        late.add_metric([], late_s)
        yield late


def _read() -> tuple[dict[EndpointStatus, int], dict[DeliveryStatus, int], float]:
    table = WebhookDelivery
    with db.session() as session:
        endpoints = dict(session.execute(select(Webhook.status, func.count()).group_by(Webhook.status)).all())
        messages = dict(session.execute(select(table.status, func.count()).group_by(table.status)).all())
        late = extract("epoch", func.now() - func.min(table.next_at))
        late_s = session.scalar(select(late).where(table.status == DeliveryStatus.PENDING))
    return endpoints, messages, max(0.0, float(late_s or 0.0))
