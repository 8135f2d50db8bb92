"""What both type checkers reject; never imported, only checked. Every line marked `# wrong` is an error."""

from __future__ import annotations

from laraq import Bus, Injected, Job, Queue, injected, job


class Mailer:
    pass


class ProcessPodcast(Job):
    podcast: int
    bitrate: int = 128

    def handle(self) -> None:
        self.release("soon")  # wrong
        self.fail(5)  # wrong


class HighBitrate(ProcessPodcast):
    channels: int = 2


@job(queue="emails")
def send_welcome(user_id: int, mailer: Injected[Mailer] = injected(), *, loud: bool = False) -> str:  # noqa: B008 - as documented
    return f"{user_id} {mailer} {loud}"


async def use_them() -> None:
    ProcessPodcast()  # wrong
    ProcessPodcast("one")  # wrong
    ProcessPodcast(1, colour="red")  # wrong
    HighBitrate(1, channels="two")  # wrong

    ProcessPodcast.dispatch()  # wrong
    ProcessPodcast.dispatch("one")  # wrong
    ProcessPodcast.dispatch(1, bitrate="high")  # wrong
    ProcessPodcast.dispatch(1, colour="red")  # wrong
    ProcessPodcast.dispatch(1, 2, 3)  # wrong
    HighBitrate.dispatch(1, channels="two")  # wrong
    ProcessPodcast.dispatch_sync("one")  # wrong
    ProcessPodcast.dispatch_after_response("one")  # wrong
    await ProcessPodcast.adispatch("one")  # wrong
    ProcessPodcast.dispatch_if(True, "one")  # wrong
    ProcessPodcast.dispatch_unless(True)  # wrong
    ProcessPodcast.delay("one")  # wrong

    ProcessPodcast(1).dispatch("again")  # wrong
    ProcessPodcast(1).on_queue(5).dispatch()  # wrong
    ProcessPodcast(1).with_delay("soon").dispatch()  # wrong
    ProcessPodcast(1).on_quue("high").dispatch()  # wrong
    ProcessPodcast.with_delay(5).dispatch(1)  # wrong
    ProcessPodcast.dispatch(1).on_queue("high")  # wrong

    send_welcome("one", Mailer())  # wrong
    send_welcome.dispatch()  # wrong
    send_welcome.dispatch("one")  # wrong
    send_welcome.dispatch(1, colour="red")  # wrong
    send_welcome.dispatch(1, loud="very")  # wrong
    send_welcome.delay("one")  # wrong
    send_welcome.dispatch_if(True, "one")  # wrong
    await send_welcome.adispatch("one")  # wrong
    send_welcome.job("one")  # wrong

    Bus.chain(5).dispatch()  # wrong
    Bus.chain([ProcessPodcast("one")])  # wrong
    Bus.chain([]).on_queue(5)  # wrong
    Bus.chain([]).with_delay("soon")  # wrong
    Bus.chain([]).then(print)  # wrong
    ProcessPodcast.with_chain(5)  # wrong
    ProcessPodcast(1).with_chain([]).on_quue("high")  # wrong
    Bus.batch(5).dispatch()  # wrong
    Bus.batch([ProcessPodcast("one")])  # wrong
    Bus.batch([]).name(5)  # wrong
    Bus.batch([]).dispatch().finish()  # wrong
    Bus.batch([]).dispatch().wait("long")  # wrong
    Bus.batch([]).dispatch().total_jobs = 5  # wrong
    Bus.find_batch(5)  # wrong
    with Queue.fake() as fake:
        fake.assert_pushed(ProcessPodcast, lambda job: job.podkast == 1)  # wrong
        fake.assert_pushed(7)  # wrong
        fake.assert_pushed(ProcessPodcast, times="twice")  # wrong
        fake.assert_pushd(ProcessPodcast)  # wrong
    with Bus.fake() as bus:
        bus.assert_dispatched(ProcessPodcast, lambda job: job.podkast)  # wrong
    ProcessPodcast(1).assert_released("soon")  # wrong
