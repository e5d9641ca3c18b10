"""What tells one CPU from another, as Linux describes them."""

from wrn3d.system import machine

ARM = {"CPU implementer": "0x41", "CPU variant": "0x1", "CPU part": "0xd40", "CPU revision": "1"}
CACHES = {"index0": ("1", "Data", "32K", "01"), "index3": ("3", "Unified", "64M", "0,000003f")}


def test_arm_cpus_without_a_name_are_told_apart_by_numbers(monkeypatch):
    monkeypatch.setattr(machine, "_cpu_entry", ARM.get)
    assert machine.cpu_model() == {"name": machine.cpu_name()} | ARM


def test_caches_have_a_size_and_the_cores_that_share_them(tmp_path, monkeypatch):
    for folder, values in CACHES.items():
        (tmp_path / folder).mkdir()
        for name, value in zip(("level", "type", "size", "shared_cpu_map"), values, strict=True):
            (tmp_path / folder / name).write_text(f"{value}\n")
    (tmp_path / "index4").mkdir()  # one that is not described
    monkeypatch.setattr(machine, "Path", lambda _: tmp_path)
    assert machine.caches() == ["L1 Data 32K of 1 core", "L3 Unified 64M of 6 cores"]
