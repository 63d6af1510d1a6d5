"""The tasks of a training run, called one after the other in this process; its argument is JSON."""

import tasks


def main() -> None:
    """Run them."""
    one = tasks.given()
    run = one["run"]
    prepared = tasks.preprocess(tasks.validate(tasks.ingest(one["source"]), run), one["profile"], one["seed"])
    trained = [tasks.train(family, prepared, run) for family in tasks.FAMILIES]
    tasks.expect_registered(tasks.register(tasks.compare(trained, prepared, run), run))


if __name__ == "__main__":
    main()
