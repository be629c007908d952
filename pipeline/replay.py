"""The replay memory: a few rows of earlier months, balanced over labels, learned again beside new ones."""

from collections import Counter
from collections.abc import Sequence

from pipeline.row_task import ONE_LABEL, RowTask
from pipeline.rows import Row
from pipeline.seeded import rank


def replay_memory(
    tables: Sequence[Sequence[Row]],
    *,
    launch_rows: int,
    month_rows: int,
    seed: int,
    task: RowTask = ONE_LABEL,
) -> list[Row]:
    """Choose the rows to replay from the training tables of a line of descent.

    Each place goes to the group, such as a label, with the fewest rows in the memory so far, so that rare labels are kept;
    within a group rows are taken by a hash of seed and id. A later table never pushes earlier rows out,
    so a month's memory is last month's and at most `month_rows` more.

    Args:
        tables: training rows, the launch first.
        launch_rows: places for the launch.
        month_rows: places for each later table.
        seed: of the choice.
        task: says which rows are of one group.

    Returns:
        The rows, table by table; a row that occurs again, of the same id and text, is chosen once.
    """
    memory: list[Row] = []
    counts: Counter[str] = Counter()
    taken: set[tuple[str, str]] = set()
    for index, rows in enumerate(tables):
        waiting: dict[str, list[Row]] = {}
        for row in sorted(rows, key=lambda row: rank(row.id, seed=seed, purpose="replay"), reverse=True):
            if row.key not in taken:
                waiting.setdefault(task.group(row.label), []).append(row)
        for _ in range(launch_rows if index == 0 else month_rows):
            if not waiting:
                break
            group = min(waiting, key=lambda name: (counts[name], name))
            row = waiting[group].pop()
            if not waiting[group]:
                del waiting[group]
            memory.append(row)
            taken.add(row.key)
            counts[group] += 1
    return memory


def epoch_order(
    new: Sequence[str],
    memory: Sequence[str],
    *,
    new_per_step: int,
    replayed_per_step: int,
    seed: int,
    epoch: int,
) -> list[int]:
    """The positions of an epoch's rows, step after step: new rows, then replayed ones.

    A pure function of its arguments, so that a run that goes on after a stop meets the same batches.

    Args:
        new: ids of the new rows; each stands once in an epoch.
        memory: ids of the replay rows, whose positions follow those of the new rows; they are gone
            through in one permutation after another, across epochs.
        new_per_step: new rows in an optimizer step; the last one of an epoch may have fewer.
        replayed_per_step: replayed rows in an optimizer step; 0 or an empty memory for none.
        seed: of all permutations.
        epoch: from 0.
    """
    shuffled = sorted(
        range(len(new)), key=lambda i: rank(f"epoch {epoch}\0{new[i]}", seed=seed, purpose="replay")
    )
    if not memory or not replayed_per_step:
        return shuffled
    steps = -(-len(new) // new_per_step)
    cycles: dict[int, list[int]] = {}
    order: list[int] = []
    for step in range(steps):
        order += shuffled[step * new_per_step : (step + 1) * new_per_step]
        first = (epoch * steps + step) * replayed_per_step
        for place in range(first, first + replayed_per_step):
            cycle, offset = divmod(place, len(memory))
            if cycle not in cycles:
                ranks = [rank(f"cycle {cycle}\0{row_id}", seed=seed, purpose="replay") for row_id in memory]
                cycles[cycle] = sorted(range(len(memory)), key=ranks.__getitem__)
            order.append(len(new) + cycles[cycle][offset])
    return order
