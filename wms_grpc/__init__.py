"""The Workflow Management Service: takes workflows, coordinates MQS and TMS, serves status."""
