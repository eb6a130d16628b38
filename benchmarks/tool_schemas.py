"""Strict tool schemas as agents bring them (all keys required, none extra), and requests."""

from __future__ import annotations

from typing import Any


def tool(name: str, **properties: Any) -> dict[str, Any]:
    parameters = {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }
    return {"name": name, "parameters": parameters}


TEXT = {"type": "string", "maxLength": 60}
DATE = {"type": "string", "pattern": "^20[0-9]{2}-[01][0-9]-[0-3][0-9]$"}
COUNT = {"type": "integer", "minimum": 0, "maximum": 100}

TOOLS = [
    tool("get_current_weather", location=TEXT, unit={"enum": ["celsius", "fahrenheit"]}),
    tool("search_flights", origin=TEXT, destination=TEXT, departure_date=DATE, passengers=COUNT),
    tool("create_calendar_event", title=TEXT, start_date=DATE, all_day={"type": "boolean"}),
    tool(
        "send_email",
        recipient_address=TEXT,
        subject=TEXT,
        priority={"enum": ["low", "normal", "high"]},
    ),
    tool("convert_currency", amount=COUNT, from_currency=TEXT, to_currency=TEXT),
    tool(
        "query_database",
        table_name={"enum": ["customers", "orders", "products"]},
        max_results=COUNT,
        sort_descending={"type": "boolean"},
    ),
    tool(
        "set_thermostat",
        target_temperature=COUNT,
        heating_mode={"enum": ["heat", "cool", "automatic"]},
    ),
    tool(
        "book_restaurant",
        restaurant_name=TEXT,
        reservation_date=DATE,
        number_of_guests=COUNT,
        outdoor_seating={"type": "boolean"},
    ),
    tool(
        "translate_text",
        source_text=TEXT,
        target_language={"enum": ["French", "German", "Japanese"]},
    ),
    tool(
        "update_ticket",
        ticket_number=COUNT,
        new_status={"enum": ["open", "in_progress", "resolved", "closed"]},
        assignee_name=TEXT,
    ),
]

REQUESTS = [
    ("get_current_weather", "What is the weather like in Paris right now, in celsius?"),
    ("get_current_weather", "Is it warm in Buenos Aires today? I use fahrenheit."),
    ("search_flights", "Find a flight from Oslo to Rome on 2026-05-04 for two passengers."),
    ("search_flights", "Four of us want to fly from Lima to Quito on 2026-08-19."),
    ("create_calendar_event", "Put a dentist appointment on 2026-03-02 into my calendar."),
    ("create_calendar_event", "I am on holiday on 2026-07-14, all day. Note that please."),
    ("send_email", "Write to anna@example.org about the budget meeting, it is urgent."),
    ("send_email", "Send Tom (tom@example.com) a note that lunch is at noon."),
    ("convert_currency", "How much are 50 dollars in euros?"),
    ("convert_currency", "Change 80 pounds into yen."),
    ("query_database", "Show the ten newest orders."),
    ("query_database", "List 25 customers, in alphabetical order."),
    ("set_thermostat", "Please warm the house to 21 degrees."),
    ("set_thermostat", "It is too hot here, cool it down to 18."),
    ("book_restaurant", "A table for four at Chez Marie on 2026-06-01, outside if possible."),
    ("book_restaurant", "Book The Golden Lion for two on 2026-02-14, inside."),
    ("translate_text", "Say 'good morning' in Japanese."),
    ("translate_text", "What is 'the train is late' in German?"),
    ("update_ticket", "Ticket 42 is done, Maria took care of it."),
    ("update_ticket", "Give ticket 7 to John, he is working on it."),
]
